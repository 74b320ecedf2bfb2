//! Phone numbers: their form by our rule, their looks by the library.

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat};

/// The longest text that is looked at.
const LONGEST: usize = 64;

/// What is told to whoever sent something else.
pub const EXPECTED: &str = "Phone number must be in E.164 format: a plus sign, the country code and \
                            the number, for example +14155550123";

/// A number in all its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formats {
    pub e164: String,
    pub international: String,
    pub national: String,
    pub rfc: String,
    /// The calling code: `1`.
    pub country_code: String,
    /// ISO 3166 alpha-2: `US`. Empty where the calling code belongs to no country.
    pub region_code: String,
}

/// The E.164 form of what was written: `+`, then 2 to 15 digits of which the first is not 0.
///
/// Spaces, dashes, dots, slashes and round brackets may stand after the plus. Contract 8.
#[must_use]
pub fn to_e164(text: &str) -> Option<String> {
    let rest = text.strip_prefix('+').filter(|_| text.len() <= LONGEST)?;
    let mut e164 = String::with_capacity(16);
    e164.push('+');
    for c in rest.chars() {
        match c {
            '0'..='9' => e164.push(c),
            ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}' | '\u{2010}'..='\u{2013}' => {}
            _ => return None,
        }
    }
    let digits = &e164[1..];
    ((2..=15).contains(&digits.len()) && !digits.starts_with('0')).then_some(e164)
}

/// Reads the library's tables, so that the first request need not wait for it.
pub fn warm_up() {
    let _ = formats("+14155550123");
}

/// Formats a number that [`to_e164`] made. What the library cannot format stays as it is.
#[must_use]
pub fn formats(e164: &str) -> Formats {
    let Ok(number) = PHONE_NUMBER_UTIL.parse(e164, None) else {
        return unformatted(e164);
    };
    // The library reads some texts as something else (it drops a national prefix, say): then its
    // formats would be those of another number.
    if number.format_as(PhoneNumberFormat::E164) != e164 {
        return unformatted(e164);
    }
    let format = |format| number.format_as(format).into_owned();
    Formats {
        e164: e164.to_owned(),
        international: format(PhoneNumberFormat::International),
        national: format(PhoneNumberFormat::National),
        rfc: format(PhoneNumberFormat::RFC3966),
        country_code: number.country_code.to_string(),
        region_code: region_of(&number),
    }
}

fn region_of(number: &PhoneNumber) -> String {
    let region = number
        .get_region_code()
        .or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(number.country_code));
    match region.map(|region| region.to_string()) {
        // 001 is the library's word for "no country".
        Some(region) if region.bytes().all(|byte| byte.is_ascii_uppercase()) => region,
        _ => String::new(),
    }
}

fn unformatted(e164: &str) -> Formats {
    Formats {
        e164: e164.to_owned(),
        international: e164.to_owned(),
        national: e164.to_owned(),
        rfc: format!("tel:{e164}"),
        country_code: String::new(),
        region_code: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn separators_are_accepted_after_a_leading_plus() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(to_e164(text).as_deref(), expected, "{text}");
        };
        check("+14155550123", Some("+14155550123"));
        check("+1 (415) 555-0123", Some("+14155550123"));
        check("+44.20/7946 0958", Some("+442079460958"));
        check("+12", Some("+12"));
        check("+123456789012345", Some("+123456789012345"));
        for wrong in [
            "",
            "+",
            "+1",
            "14155550123",
            "+04155550123",
            "+1234567890123456",
            " +14155550123",
            "+1415555O123",
            "+1+4155550123",
            "0014155550123",
            "tel:+14155550123",
            "+1415555012３",
        ] {
            check(wrong, None);
        }
        check(&format!("+1{}4155550123", " ".repeat(80)), None);
    }

    #[test]
    fn a_number_has_the_formats_of_the_contract() {
        let expected = Formats {
            e164: String::from("+14155551234"),
            international: String::from("+1 415-555-1234"),
            national: String::from("(415) 555-1234"),
            rfc: String::from("tel:+1-415-555-1234"),
            country_code: String::from("1"),
            region_code: String::from("US"),
        };
        assert_eq!(formats("+14155551234"), expected);
        assert_eq!(formats("+493012345678").region_code, "DE");
        assert_eq!(formats("+80012345678").region_code, "", "international freephone");
    }

    #[test]
    fn what_cannot_be_formatted_keeps_its_e164_text() {
        let formats = formats("+999123456789");
        assert_eq!(formats.international, "+999123456789");
        assert_eq!(formats.national, "+999123456789");
    }

    proptest! {
        #[test]
        fn any_number_of_the_right_form_has_formats_with_its_digits(digits in "[1-9][0-9]{1,14}") {
            let e164 = format!("+{digits}");
            prop_assert_eq!(to_e164(&e164), Some(e164.clone()));
            let formats = formats(&e164);
            let plain: String = formats.international.chars().filter(char::is_ascii_digit).collect();
            prop_assert_eq!(plain, digits);
        }

        #[test]
        fn any_text_is_read_without_harm(text in "\\PC{0,80}") {
            if let Some(e164) = to_e164(&text) {
                prop_assert!(e164.starts_with('+') && (3..=16).contains(&e164.len()));
            }
        }
    }
}
