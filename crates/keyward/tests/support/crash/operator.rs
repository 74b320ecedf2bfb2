//! An operator who works with the command line on the same data, and whose commands are killed as well.

use std::collections::BTreeMap;
use std::io;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::client::Client;
use super::line::{Line, Rng};
use super::truth::{Database, KeyState, Truth};
use super::{World, pause};

/// One command in so many is killed.
const KILLED_OF: u64 = 6;

#[derive(Clone, Debug)]
enum Intent {
    /// With this name.
    Issue(String),
    Disable(String),
    Enable(String),
    /// The old key ends at once.
    Rotate(String),
    Revoke(String),
}

impl Intent {
    /// The key that is changed.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Issue(_) => None,
            Self::Disable(id) | Self::Enable(id) | Self::Rotate(id) | Self::Revoke(id) => Some(id),
        }
    }
}

struct Key {
    /// `None` if the command that issued it died before it had shown it.
    clear: Option<String>,
    state: KeyState,
}

/// Keys by id.
pub(super) struct Operator {
    rng: Rng,
    n_asked: u64,
    keys: BTreeMap<String, Key>,
    /// Commands that did not end well. What became of them is looked at after a restart: a server that
    /// runs takes over what nobody rang for within a moment, but nobody was promised when.
    in_doubt: Vec<Intent>,
    touched: Vec<String>,
}

impl Operator {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, n_asked: 0, keys: BTreeMap::new(), in_doubt: vec![], touched: vec![] }
    }

    fn think(&mut self) -> Intent {
        let is_known = |id: &str| self.in_doubt.iter().all(|intent| intent.key() != Some(id));
        let living = self.keys.iter().filter(|(id, key)| !key.state.is_dead() && is_known(id));
        let living: Vec<(&String, bool)> =
            living.map(|(id, key)| (id, key.state.is_disabled)).collect();
        let known = self.rng.pick(&living).map(|(id, is_off)| ((*id).clone(), *is_off));
        match (self.rng.below(6), known) {
            (0, Some((id, true))) => Intent::Enable(id),
            (0, Some((id, false))) => Intent::Disable(id),
            (1, Some((id, false))) => Intent::Rotate(id),
            (2 | 3, Some((id, _))) => Intent::Revoke(id),
            _ => Intent::Issue(format!("cli {}", self.n_asked)),
        }
    }

    /// Runs the command; nothing comes back if it did not end well, or was killed.
    fn run(&mut self, world: &World, intent: &Intent) -> Option<Output> {
        let arguments = match intent {
            Intent::Issue(name) => {
                let preset = ["--environment", "test", "--preset", "read-only"];
                [&["keys", "create", "--name", name.as_str()], preset.as_slice()].concat()
            }
            Intent::Disable(id) => vec!["keys", "disable", id.as_str()],
            Intent::Enable(id) => vec!["keys", "enable", id.as_str()],
            Intent::Rotate(id) => vec!["keys", "rotate", id.as_str(), "--grace", "0s"],
            Intent::Revoke(id) => vec!["keys", "revoke", id.as_str()],
        };
        let mut command = world.shell.command(&[arguments.as_slice(), &["--json"]].concat());
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is built");
        if self.rng.below(KILLED_OF) == 0 {
            pause(self.rng.below(30_000));
            // It may have ended by itself.
            let _ = child.kill();
            world.counts.commands_killed.up();
        }
        let output = child.wait_with_output().expect("it was started");
        output.status.success().then_some(output)
    }

    fn issued(&mut self, id: String, clear: Option<String>) {
        self.touched.push(id.clone());
        let key = Key { clear, state: KeyState::default() };
        assert!(self.keys.insert(id.clone(), key).is_none(), "{id} was issued twice");
    }

    fn change(&mut self, world: &World, id: &str, change: impl FnOnce(&mut KeyState)) {
        let key = self.keys.get_mut(id).expect("it was issued");
        change(&mut key.state);
        if let (true, Some(clear)) = (key.state.is_dead(), &key.clear) {
            world.bury(clear);
        }
        self.touched.push(id.to_owned());
    }

    /// Takes over a change that is known to be made; the key that it issued with it, if it did.
    fn learn(&mut self, world: &World, intent: Intent, issued: Option<(String, Option<String>)>) {
        let (id, event) = match intent {
            Intent::Issue(_) => (None, None),
            Intent::Disable(id) => {
                self.change(world, &id, |state| state.is_disabled = true);
                (Some(id), Some("api_key.disabled"))
            }
            Intent::Enable(id) => {
                self.change(world, &id, |state| state.is_disabled = false);
                (Some(id), Some("api_key.enabled"))
            }
            Intent::Rotate(id) => {
                self.change(world, &id, |state| state.is_rotated = true);
                (Some(id), Some("api_key.rotated"))
            }
            Intent::Revoke(id) => {
                self.change(world, &id, |state| state.is_revoked = true);
                (Some(id), Some("api_key.revoked"))
            }
        };
        world.promise(id.zip(event));
        if let Some((id, clear)) = issued {
            world.promise([(id.clone(), "api_key.created")]);
            self.issued(id, clear);
        }
    }

    /// Looks what became of a command that did not end well.
    fn find_out(&mut self, world: &World, intent: Intent) {
        let database = Database::open(&world.shell.data_dir);
        let (is_done, issued) = match &intent {
            Intent::Issue(name) => {
                let issued = database.keys_named(name).pop().map(|key| key.id);
                (issued.is_some(), issued)
            }
            Intent::Disable(id) => (database.key(id).state.is_disabled, None),
            Intent::Enable(id) => (!database.key(id).state.is_disabled, None),
            Intent::Rotate(id) => {
                let old = database.key(id);
                assert_eq!(old.state.is_rotated, old.successor.is_some(), "{old:?}");
                (old.state.is_rotated, old.successor)
            }
            Intent::Revoke(id) => (database.key(id).state.is_revoked, None),
        };
        if is_done {
            self.learn(world, intent, issued.map(|id| (id, None)));
            world.counts.found_done.up();
        } else {
            world.counts.not_done.up();
        }
    }
}

impl Client for Operator {
    fn step(&mut self, world: &World, _: &mut Line) -> io::Result<()> {
        self.n_asked += 1;
        let intent = self.think();
        match self.run(world, &intent) {
            None => self.in_doubt.push(intent),
            Some(output) => {
                let told = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
                let text = |name: &str| told[name].as_str().map(str::to_owned);
                let issued = matches!(intent, Intent::Issue(_) | Intent::Rotate(_))
                    .then(|| (text("id").expect("it tells the id"), text("key")));
                self.learn(world, intent, issued);
                world.counts.by_command.up();
                world.acknowledge();
            }
        }
        if world.is_gone() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    fn settle(&mut self, world: &World, line: &mut Line) -> io::Result<()> {
        for intent in std::mem::take(&mut self.in_doubt) {
            self.find_out(world, intent);
        }
        for id in std::mem::take(&mut self.touched) {
            let Key { clear, state } = &self.keys[&id];
            let Some(clear) = clear else { continue };
            let expected = if state.is_good() { 200 } else { 401 };
            let answer = line.get("/v3/me", clear)?;
            assert_eq!(answer.status, expected, "{id} {state:?}: {answer:?}");
            world.counts.looked_at.up();
        }
        Ok(())
    }

    fn tell(&self, truth: &mut Truth) {
        truth.keys.extend(self.keys.iter().map(|(id, key)| (id.clone(), key.state)));
    }
}
