//! Forms that make something are taken once: a page that is reloaded, or a form sent twice, finds what
//! was made the first time.
//!
//! Bound: the last 4,096 forms are remembered, about 150 bytes each, until the server stops.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::tokens::Token;

const MOST: usize = 4096;

/// Which forms were taken, and what they made.
#[derive(Default)]
pub struct Once(Mutex<VecDeque<(String, String)>>);

impl Once {
    /// A word for a form that is about to be shown.
    #[must_use]
    pub fn new_form(&self) -> String {
        Token::new().reveal().chars().take(22).collect()
    }

    /// Where the page of what a form made is, if it was taken before.
    #[must_use]
    pub fn made_by(&self, form: &str) -> Option<String> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken
            .iter()
            .find(|(word, _)| !form.is_empty() && word == form)
            .map(|(_, place)| place.clone())
    }

    /// Remembers where the page of what a form made is.
    pub fn remember(&self, form: &str, place: String) {
        if form.is_empty() || form.len() > 64 {
            return;
        }
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= MOST {
            taken.pop_front();
        }
        taken.push_back((form.to_owned(), place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_taken_once_and_the_oldest_are_forgotten() {
        let once = Once::default();
        let form = once.new_form();
        assert_ne!(form, once.new_form());
        assert_eq!(once.made_by(&form), None);
        once.remember(&form, String::from("/keys/1"));
        assert_eq!(once.made_by(&form), Some(String::from("/keys/1")));
        once.remember("", String::from("/keys/2"));
        assert_eq!(once.made_by(""), None);
        for n in 0..MOST {
            once.remember(&n.to_string(), String::from("/keys/3"));
        }
        assert_eq!(once.made_by(&form), None);
    }
}
