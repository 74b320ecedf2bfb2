//! Who does something.

use keyward_core::verdict::Caller;

/// Who asks for a change: it stands in the trail that the change leaves.
#[derive(Clone, Copy, Debug)]
pub enum Actor {
    /// Whoever holds a key.
    Key(Caller),
    /// Whoever can run the command line on the server's machine.
    Operator,
}

impl Actor {
    /// `operator`, or `key 0190…`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Key(caller) => format!("key {}", caller.key()),
            Self::Operator => String::from("operator"),
        }
    }
}
