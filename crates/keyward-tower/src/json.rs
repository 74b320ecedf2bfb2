//! JSON for answers, into one vector.
//!
//! Writes what `serde_json` writes, byte for byte (a property below), for a third of its price: names of
//! fields are words of this program and are copied as they are, and text is looked at eight bytes at a
//! time, since hardly any has something to be escaped. Writing JSON was the largest piece of an answer's
//! own time; reading it stays with the library.
//!
//! Leaves out maps whose keys are no texts. Numbers with a fraction go through the library.

use serde::Serialize;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};
use serde_json::Error;

/// Appends a value.
///
/// # Errors
/// If it has a map whose keys are no texts, or says itself that it cannot be written.
pub(crate) fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    value.serialize(Writer(out))
}

/// What `serde_json` calls a value that is JSON already.
const RAW: &str = "$serde_json::private::RawValue";

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Where the first byte stands that must not stand in a string as it is.
fn first_special(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The high bit of each byte that is less than a space, or equal to a quote or a backslash. A borrow
        // may set one above the first that is meant, and never one below it.
        let control = word.wrapping_sub(ONES * u64::from(b' ')) & !word;
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let equal = quote.wrapping_sub(ONES) & !quote | backslash.wrapping_sub(ONES) & !backslash;
        let found = (control | equal) & HIGH;
        if found != 0 {
            return Some(n * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let is_special = |byte: &u8| *byte < b' ' || matches!(*byte, b'"' | b'\\');
    Some(words.len() * 8 + rest.iter().position(is_special)?)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_special(rest) {
        out.extend_from_slice(&rest[..at]);
        put_escaped(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cold]
fn put_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    fn number(self, number: impl itoa::Integer) {
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn open(self, bracket: &[u8], close: &'static [u8]) -> Parts<'a> {
        self.0.extend_from_slice(bracket);
        Parts { out: self.0, is_first: true, is_raw: false, close }
    }

    /// `{"variant":` and what follows.
    fn open_variant(self, variant: &str, bracket: u8, close: &'static [u8]) -> Parts<'a> {
        self.0.push(b'{');
        put_text(self.0, variant);
        self.open(&[b':', bracket], close)
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty),*) => {$(
        fn $method(self, number: $type) -> Result<(), Error> {
            self.number(number);
            Ok(())
        }
    )*};
}

impl<'a> serde::Serializer for Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    numbers!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64);
    numbers!(serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64);

    fn serialize_bool(self, is_true: bool) -> Result<(), Error> {
        self.0.extend_from_slice(if is_true { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Error> {
        serde_json::to_writer(self.0, &number)
    }

    fn serialize_f64(self, number: f64) -> Result<(), Error> {
        serde_json::to_writer(self.0, &number)
    }

    fn serialize_char(self, letter: char) -> Result<(), Error> {
        put_text(self.0, letter.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        put_text(self.0, text);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut parts = self.open(b"{", b"}");
        parts.field(variant, value)?;
        parts.close()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        Ok(self.open(b"[", b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Error> {
        Ok(self.open(b"[", b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Error> {
        Ok(self.open(b"[", b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Error> {
        Ok(self.open_variant(variant, b'[', b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        Ok(self.open(b"{", b"}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts<'a>, Error> {
        if name == RAW {
            return Ok(Parts { out: self.0, is_first: true, is_raw: true, close: b"" });
        }
        Ok(self.open(b"{", b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Error> {
        Ok(self.open_variant(variant, b'{', b"}}"))
    }
}

/// What stands in brackets.
struct Parts<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
    is_raw: bool,
    close: &'static [u8],
}

impl Parts<'_> {
    fn comma(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.comma();
        write(self.out, value)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        if self.is_raw {
            let text = serde_json::to_value(value)?;
            self.out.extend_from_slice(text.as_str().unwrap_or("null").as_bytes());
            return Ok(());
        }
        debug_assert!(first_special(name.as_bytes()).is_none(), "a name is a plain word");
        self.comma();
        self.out.reserve(name.len() + 3);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        write(self.out, value)
    }

    fn close(self) -> Result<(), Error> {
        self.out.extend_from_slice(self.close);
        Ok(())
    }
}

macro_rules! items {
    ($($trait:ident $method:ident),*) => {$(
        impl $trait for Parts<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )*};
}

macro_rules! fields {
    ($($trait:ident),*) => {$(
        impl $trait for Parts<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )*};
}

items!(
    SerializeSeq serialize_element, SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field
);
fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.comma();
        let from = self.out.len();
        write(self.out, key)?;
        match self.out.get(from) {
            Some(b'"') => Ok(()),
            _ => Err(Error::custom("a key of a map is no text")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b':');
        write(self.out, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    fn written<T: Serialize + ?Sized>(value: &T) -> String {
        let mut out = vec![];
        write(&mut out, value).expect("it can be written");
        String::from_utf8(out).expect("it is text")
    }

    #[derive(Serialize)]
    enum Kind<'a> {
        Plain,
        One(&'a str),
        Two(u8, char),
        Named { a: Option<i8>, b: () },
    }

    #[derive(Serialize)]
    struct Everything<'a> {
        kinds: [Kind<'a>; 4],
        nothing: Option<u8>,
        raw: &'a RawValue,
        numbers: (u64, i64, f64, bool),
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u8>,
        #[serde(rename = "type")]
        word: &'static str,
        pair: Pair,
        bytes: &'a [u8],
        map: BTreeMap<&'a str, Vec<u32>>,
    }

    #[derive(Serialize)]
    struct Pair(u16, f32);

    #[test]
    fn every_shape_is_written_as_the_library_writes_it() {
        let raw = RawValue::from_string(String::from("{ \"a\": [1,\t\"\\n\"] }")).expect("JSON");
        let everything = Everything {
            kinds: [
                Kind::Plain,
                Kind::One("x\u{1}\u{7f}\u{2028}"),
                Kind::Two(7, '"'),
                Kind::Named { a: None, b: () },
            ],
            nothing: None,
            raw: &raw,
            numbers: (u64::MAX, i64::MIN, 0.1, true),
            left_out: None,
            word: "w",
            pair: Pair(1, 1.5e30),
            bytes: b"\x00\xff",
            map: BTreeMap::from([("", vec![]), ("k\\", vec![1, 2])]),
        };
        let expected = serde_json::to_string(&everything).expect("it can be written");
        assert_eq!(written(&everything), expected);
    }

    #[test]
    fn every_byte_is_escaped_as_the_library_does_at_every_place() {
        for letter in (0..=0x0180).filter_map(char::from_u32) {
            for before in 0..18 {
                let text = format!("{}{letter}{}", "a".repeat(before), "z".repeat(17 - before));
                let expected = serde_json::to_string(&text).expect("a string");
                assert_eq!(written(&text), expected);
            }
        }
    }

    #[test]
    fn a_map_whose_keys_are_no_texts_is_refused() {
        let mut out = vec![];
        let error = write(&mut out, &BTreeMap::from([(1, 2)])).expect_err("it has no JSON");
        assert_eq!(error.to_string(), "a key of a map is no text");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
            "[\\x00-\\x7f]{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(".{0,20}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_written_as_the_library_writes_it(value in any_value()) {
            prop_assert_eq!(written(&value), serde_json::to_string(&value).expect("a value"));
        }
    }
}
