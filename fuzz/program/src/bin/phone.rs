//! Phone numbers: what is taken is a plus sign and 2 to 15 digits, and all forms of a number have its digits.
#![no_main]

use keyward::app::phone::{formats, to_e164};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(e164) = to_e164(text) else { return };
    assert!(text.starts_with('+') && text.len() <= 64);
    let digits = &e164[1..];
    assert!(e164.starts_with('+') && (2..=15).contains(&digits.len()) && !digits.starts_with('0'));
    assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
    assert_eq!(digits, text.chars().filter(char::is_ascii_digit).collect::<String>());
    assert_eq!(to_e164(&e164).as_ref(), Some(&e164));
    let forms = formats(&e164);
    assert_eq!(forms.e164, e164);
    let plain = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    assert_eq!(plain(&forms.international), digits);
    assert_eq!(plain(&forms.rfc), digits, "{forms:?}");
    assert!(forms.rfc.starts_with("tel:+"));
    assert!(digits.starts_with(&forms.country_code) && forms.country_code.len() <= 3);
    assert!(forms.region_code.len() == 2 || forms.region_code.is_empty());
    assert!(forms.region_code.bytes().all(|byte| byte.is_ascii_uppercase()));
    for form in [&forms.international, &forms.national, &forms.rfc] {
        assert!(form.len() <= 64 && !form.chars().any(char::is_control), "{forms:?}");
    }
});
