//! A client that makes, switches, changes and deletes webhooks, of which none ever gets anything.

use std::collections::BTreeMap;
use std::io;

use super::World;
use super::client::{Ask, Model};
use super::line::{Answer, Line, Rng};
use super::truth::Truth;

/// An account may have 50, and some are others'.
const MOST: usize = 30;

struct Hook {
    name: String,
    is_active: bool,
}

/// Webhooks that are there, by id.
#[derive(Default)]
pub(super) struct Hooks {
    hooks: BTreeMap<String, Hook>,
    gone: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Intent {
    Make(String),
    Toggle(String, bool),
    Rename(String, String),
    Rotate,
    Delete(String),
    Never(u16),
}

impl Model for Hooks {
    type Intent = Intent;

    fn think(&mut self, world: &World, rng: &mut Rng, number: u64) -> (Ask, Intent) {
        let name = format!("hook {number}");
        let make = |key: &str, name: &str, url: &str| Ask {
            method: "POST",
            path: String::from("/v3/webhooks"),
            body: format!(
                "{{\"display_name\":\"{name}\",\"endpoint_url\":\"{url}\",\
                 \"event_types\":[\"user\"]}}"
            ),
            key: key.to_owned(),
        };
        let ids: Vec<&String> = self.hooks.keys().collect();
        let known = rng.pick(&ids).map(|id| (*id).clone());
        let ask = |method, id: &str, verb: &str, body: String| Ask {
            method,
            path: format!("/v3/webhooks/{id}{verb}"),
            body,
            key: world.boss.clone(),
        };
        let choice = if self.hooks.len() < MOST { rng.below(9) } else { 3 };
        match (choice, known) {
            (0 | 1, Some(id)) => {
                let is_active = !self.hooks[&id].is_active;
                let body = format!("{{\"is_active\":{is_active}}}");
                (ask("PATCH", &id, "/toggle-status", body), Intent::Toggle(id, is_active))
            }
            (2, Some(id)) => {
                let body = format!("{{\"display_name\":\"{name}\"}}");
                (ask("PUT", &id, "", body), Intent::Rename(id, name))
            }
            (3, Some(id)) => (ask("DELETE", &id, "", String::from("{}")), Intent::Delete(id)),
            (4, Some(id)) => {
                (ask("POST", &id, "/rotate-secret", String::from("{}")), Intent::Rotate)
            }
            (5, _) => (make(&world.weak, &name, &world.hook_url()), Intent::Never(403)),
            (6, _) => (make(&world.boss, &name, "http://10.0.0.1/"), Intent::Never(400)),
            _ => (make(&world.boss, &name, &world.hook_url()), Intent::Make(name)),
        }
    }

    fn learn(&mut self, _: &World, intent: Intent, answer: &Answer) -> Option<Vec<&'static str>> {
        if answer.status == 503 {
            return None;
        }
        let is_never = matches!(intent, Intent::Never(_));
        let status = match intent {
            Intent::Make(name) => {
                let hook = Hook { name, is_active: true };
                assert!(self.hooks.insert(answer.data("id"), hook).is_none(), "{answer:?}");
                201
            }
            Intent::Toggle(id, is_active) => {
                self.hooks.get_mut(&id).expect("it was made").is_active = is_active;
                200
            }
            Intent::Rename(id, name) => {
                self.hooks.get_mut(&id).expect("it was made").name = name;
                200
            }
            Intent::Rotate => {
                assert!(answer.data("signing_secret").starts_with("whsec_"), "{answer:?}");
                200
            }
            Intent::Delete(id) => {
                self.hooks.remove(&id).expect("it was made");
                self.gone.push(id);
                204
            }
            Intent::Never(status) => status,
        };
        assert_eq!(answer.status, status, "{answer:?}");
        (!is_never).then(Vec::new)
    }

    fn check(&mut self, world: &World, _: &mut Rng, line: &mut Line) -> io::Result<()> {
        for id in self.gone.drain(..) {
            let answer = line.get(&format!("/v3/webhooks/{id}"), &world.boss)?;
            assert_eq!(answer.status, 404, "{answer:?}");
            world.counts.looked_at.up();
        }
        for (id, hook) in &self.hooks {
            let answer = line.get(&format!("/v3/webhooks/{id}"), &world.boss)?;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.data("display_name"), hook.name);
            let is_active = format!("\"is_active\":{}", hook.is_active);
            assert!(answer.body.contains(&is_active), "{answer:?}");
            world.counts.looked_at.up();
        }
        Ok(())
    }

    fn tell(&self, truth: &mut Truth) {
        let hooks = self.hooks.iter();
        truth
            .hooks
            .extend(hooks.map(|(id, hook)| (id.clone(), (hook.name.clone(), hook.is_active))));
    }
}
