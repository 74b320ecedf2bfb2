//! A client that issues, switches, rotates and revokes keys over the API.

use std::collections::BTreeMap;
use std::io;

use super::World;
use super::client::{Ask, Model};
use super::line::{Answer, Line, Rng};
use super::truth::{KeyState, Truth};

const SAMPLE: usize = 10;

struct Key {
    clear: String,
    state: KeyState,
}

/// Keys by id.
#[derive(Default)]
pub(super) struct Keys {
    keys: BTreeMap<String, Key>,
    /// Those that can be changed.
    living: Vec<String>,
    touched: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Intent {
    Issue,
    Disable(String),
    Enable(String),
    /// The old key ends at once.
    Rotate(String),
    Revoke(String),
    Never(u16),
}

impl Keys {
    fn issued(&mut self, answer: &Answer) {
        let (id, clear) = (answer.data("id"), answer.data("key"));
        let key = Key { clear, state: KeyState::default() };
        assert!(self.keys.insert(id.clone(), key).is_none(), "{id} was issued twice");
        self.living.push(id.clone());
        self.touched.push(id);
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut KeyState)) -> &Key {
        let key = self.keys.get_mut(id).expect("it was issued");
        change(&mut key.state);
        if key.state.is_dead() {
            self.living.retain(|living| living != id);
        }
        self.touched.push(id.to_owned());
        key
    }
}

impl Model for Keys {
    type Intent = Intent;

    fn think(&mut self, world: &World, rng: &mut Rng, number: u64) -> (Ask, Intent) {
        let issue = |key: &str, permission: &str| Ask {
            method: "POST",
            path: String::from("/v3/api-keys"),
            body: format!("{{\"name\":\"api {number}\",\"permissions\":[\"{permission}\"]}}"),
            key: key.to_owned(),
        };
        let known = rng.pick(&self.living).cloned();
        let is_off = known.as_ref().is_some_and(|id| self.keys[id].state.is_disabled);
        let ask = |method, id: &str, verb: &str, key: &str| Ask {
            method,
            path: format!("/v3/api-keys/{id}{verb}"),
            body: String::from(if verb == "/rotate" { "{\"grace_seconds\":0}" } else { "{}" }),
            key: key.to_owned(),
        };
        let boss = world.boss.as_str();
        match (rng.below(12), known) {
            (0 | 1, Some(id)) if is_off => (ask("POST", &id, "/enable", boss), Intent::Enable(id)),
            (0 | 1, Some(id)) => (ask("POST", &id, "/disable", boss), Intent::Disable(id)),
            (2 | 3, Some(id)) if !is_off => (ask("POST", &id, "/rotate", boss), Intent::Rotate(id)),
            (4 | 5, Some(id)) => (ask("DELETE", &id, "", boss), Intent::Revoke(id)),
            (6, Some(id)) => (ask("DELETE", &id, "", &world.weak), Intent::Never(403)),
            (7, _) => (issue(&world.weak, "contacts:read"), Intent::Never(403)),
            (8, _) => (issue(boss, "users:write"), Intent::Never(400)),
            (9, _) => (issue(&world.dead, "contacts:read"), Intent::Never(401)),
            _ => (issue(boss, "contacts:read"), Intent::Issue),
        }
    }

    fn learn(
        &mut self,
        world: &World,
        intent: Intent,
        answer: &Answer,
    ) -> Option<Vec<&'static str>> {
        if answer.status == 503 {
            return None;
        }
        let (status, events) = match intent {
            Intent::Issue => {
                self.issued(answer);
                (201, Some(vec!["api_key.created"]))
            }
            Intent::Disable(id) => {
                self.change(&id, |state| state.is_disabled = true);
                (200, Some(vec!["api_key.disabled"]))
            }
            Intent::Enable(id) => {
                self.change(&id, |state| state.is_disabled = false);
                (200, Some(vec!["api_key.enabled"]))
            }
            Intent::Rotate(id) => {
                world.bury(&self.change(&id, |state| state.is_rotated = true).clear);
                self.issued(answer);
                (200, Some(vec!["api_key.rotated", "api_key.created"]))
            }
            Intent::Revoke(id) => {
                world.bury(&self.change(&id, |state| state.is_revoked = true).clear);
                (204, Some(vec!["api_key.revoked"]))
            }
            Intent::Never(status) => (status, None),
        };
        assert_eq!(answer.status, status, "{answer:?}");
        events
    }

    fn check(&mut self, world: &World, rng: &mut Rng, line: &mut Line) -> io::Result<()> {
        let all: Vec<&String> = self.keys.keys().collect();
        let older: Vec<String> =
            (0..SAMPLE).filter_map(|_| rng.pick(&all).map(|id| (*id).clone())).collect();
        for id in self.touched.drain(..).chain(older) {
            let Key { clear, state } = &self.keys[&id];
            let answer = line.get("/v3/me", clear)?;
            let expected = if state.is_good() { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{id} {state:?}: {answer:?}");
            world.counts.looked_at.up();
        }
        Ok(())
    }

    fn tell(&self, truth: &mut Truth) {
        truth.keys.extend(self.keys.iter().map(|(id, key)| (id.clone(), key.state)));
    }
}
