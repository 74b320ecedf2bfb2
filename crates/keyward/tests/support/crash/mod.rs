//! The real program, killed with -9 at random moments while several clients work with it, and after
//! each restart the question whether it has kept what it acknowledged, and that alone.
//!
//! A client notes what it asked for before it asks. What is acknowledged is taken over into what it
//! knows; what is refused is not; and the one change that was not answered is asked for once more after
//! the restart, under the same `Idempotency-Key`. Then the database must hold what the clients know, to
//! the row, and the receiver of webhooks must have got every event that was promised.
//!
//! `tests/api/kills.rs` does it a few times, `make soak` 200 times.

mod catcher;
mod client;
mod contacts;
mod hooks;
mod keys;
mod line;
mod operator;
mod truth;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use keyward::app::Clock;

use crate::program::Shell;
use catcher::{Catcher, Heard};
use client::{ApiClient, Client};
use contacts::Contacts;
use hooks::Hooks;
use keys::Keys;
use line::{Line, Rng};
use operator::Operator;
use truth::{Database, Truth};

/// How often it is killed, and from which seed everything follows that is left to chance (but not what
/// the system adds to it).
pub(crate) struct Plan {
    pub(crate) kills: u64,
    pub(crate) seed: u64,
    /// Changes between two kills at most.
    pub(crate) most_changes: u64,
    /// All deliveries are waited for after so many kills.
    pub(crate) drain_every: u64,
}

#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Counts {
    kills: Count,
    /// Of them, before the server had said that it listens.
    kills_at_start: Count,
    acknowledged: Count,
    by_command: Count,
    commands_killed: Count,
    refused: Count,
    /// Not answered, and found to be made.
    found_done: Count,
    /// Not answered, not made, and made when it was asked for once more.
    done_late: Count,
    /// A command that did not end well, and had changed nothing.
    not_done: Count,
    /// Answers that were kept and told again.
    repeated: Count,
    /// Single contacts, keys and webhooks asked for after a restart.
    looked_at: Count,
    /// Requests with a dead key while others worked, all refused.
    dead_tried: Count,
}

/// What all clients share.
pub(crate) struct World {
    shell: Shell,
    /// May do everything.
    boss: String,
    /// May read contacts, and nothing else.
    weak: String,
    /// Was revoked before the first kill.
    dead: String,
    catcher: Catcher,
    counts: Counts,
    /// Keys whose end was acknowledged.
    graveyard: Mutex<Vec<String>>,
    /// Events that acknowledged changes brought.
    promised: Mutex<Vec<Heard>>,
    /// Changes until the next kill.
    until_kill: (Mutex<u64>, Condvar),
    is_gone: AtomicBool,
}

impl World {
    /// A client was told that its change is made.
    fn acknowledge(&self) {
        let mut left = self.until_kill.0.lock().expect("no client panics");
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.until_kill.1.notify_all();
        }
    }

    /// From now on no request may pass with this key.
    fn bury(&self, key: &str) {
        self.graveyard.lock().expect("no client panics").push(key.to_owned());
    }

    fn promise(&self, events: impl IntoIterator<Item = (String, &'static str)>) {
        let events = events.into_iter().map(|(whose, event)| (whose, event.to_owned()));
        self.promised.lock().expect("no client panics").extend(events);
    }

    fn hook_url(&self) -> String {
        format!("http://{}/", self.catcher.address)
    }

    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }
}

/// Lets some time pass, so that nobody knows where exactly the other one is.
fn pause(micros: u64) {
    std::thread::park_timeout(Duration::from_micros(micros));
}

/// Tries dead keys while the others work.
struct Sentry(Rng);

impl Client for Sentry {
    fn step(&mut self, world: &World, line: &mut Line) -> std::io::Result<()> {
        let dead = {
            let graveyard = world.graveyard.lock().expect("no client panics");
            self.0.pick(&graveyard).unwrap_or(&world.dead).clone()
        };
        let answer = line.get("/v3/me", &dead)?;
        assert_eq!(answer.status, 401, "a dead key passes: {answer:?}");
        let answer = line.get("/v3/me", &world.boss)?;
        assert_eq!(answer.status, 200, "a good key is refused: {answer:?}");
        world.counts.dead_tried.up();
        pause(1000);
        Ok(())
    }

    fn settle(&mut self, _: &World, _: &mut Line) -> std::io::Result<()> {
        Ok(())
    }

    fn tell(&self, _: &mut Truth) {}
}

/// A server, and where it listens.
struct Serving {
    child: Child,
    address: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(shell: &Shell) -> Child {
    let most = "1000000";
    let mut command = shell.command(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "off",
        "--rate-limit-standard",
        most,
        "--rate-limit-sensitive",
        most,
        "--rate-limit-unauthenticated",
        most,
    ]);
    command.stderr(Stdio::piped()).spawn().expect("the program is built")
}

impl Serving {
    fn start(shell: &Shell) -> Self {
        // Why first: whatever happens next, the process ends with this.
        let mut serving = Self { child: spawn(shell), address: String::new() };
        let mut log = BufReader::new(serving.child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        log.read_line(&mut line).expect("it writes text");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        serving.address = address.unwrap_or_else(|| panic!("it says where: {line}")).to_owned();
        // A pipe that nobody reads would fill up.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        serving
    }

    fn line(&self) -> Line {
        Line::to(&self.address).expect("it listens")
    }

    /// SIGKILL: it gets no chance to do anything about it.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started");
    }
}

/// An account, its keys, and the two webhooks that hear of contacts and keys.
fn set_up(catcher: Catcher) -> (World, BTreeSet<String>) {
    let shell = Shell::new();
    shell.set_up();
    let issue = |permissions: &[&str]| {
        let permissions = permissions.iter().flat_map(|name| ["--permission", name]);
        let first = ["keys", "create", "--name", "first", "--environment", "test"];
        let issued = shell.json(&first.into_iter().chain(permissions).collect::<Vec<_>>());
        let text = |name: &str| issued[name].as_str().expect("a text").to_owned();
        (text("id"), text("key"))
    };
    let boss = [
        "contacts:read",
        "contacts:write",
        "webhooks:read",
        "webhooks:write",
        "webhooks:rotate_secret",
        "api_keys:read",
        "api_keys:write",
    ];
    let (boss, weak, dead) = (issue(&boss), issue(&["contacts:read"]), issue(&["contacts:read"]));
    shell.json(&["keys", "revoke", &dead.0]);
    let mut first = BTreeSet::from([boss.0, weak.0, dead.0]);
    let world = World {
        shell,
        boss: boss.1,
        weak: weak.1,
        dead: dead.1,
        catcher,
        counts: Counts::default(),
        graveyard: Mutex::default(),
        promised: Mutex::default(),
        until_kill: (Mutex::new(0), Condvar::new()),
        is_gone: AtomicBool::new(false),
    };
    let serving = Serving::start(&world.shell);
    for family in ["contact", "api_key"] {
        let url = world.hook_url();
        let body = format!(
            "{{\"display_name\":\"{family}\",\"endpoint_url\":\"{url}\",\"event_types\":[\"{family}\"],\
             \"retry_count\":5}}"
        );
        let made = serving.line().send("POST", "/v3/webhooks", &world.boss, None, &body);
        first.insert(made.expect("it runs").data("id"));
    }
    serving.kill();
    (world, first)
}

/// What was done, and found to be kept.
pub(crate) struct Figures {
    text: String,
    pub(crate) kills: u64,
    /// Acknowledged over the API.
    pub(crate) acknowledged: u64,
    pub(crate) deliveries: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Kills a server as often as planned. Panics at the first promise that is not kept.
pub(crate) fn run(plan: &Plan) -> Figures {
    let clock = Clock::system();
    let began = clock.micros();
    let mut rng = Rng::from_seed(plan.seed);
    let (world, first) = set_up(Catcher::start(rng.fork()));
    let mut clients: Vec<Box<dyn Client>> = vec![
        Box::new(ApiClient::new(Contacts::new("+1415"), "a", rng.fork())),
        Box::new(ApiClient::new(Contacts::new("+1212"), "b", rng.fork())),
        Box::new(ApiClient::new(Keys::default(), "keys", rng.fork())),
        Box::new(ApiClient::new(Hooks::default(), "hooks", rng.fork())),
        Box::new(Operator::new(rng.fork())),
        Box::new(Sentry(rng.fork())),
    ];
    loop {
        if rng.below(8) == 0 && world.counts.kills.get() < plan.kills {
            let mut child = spawn(&world.shell);
            pause(rng.below(60_000));
            child.kill().expect("it was started");
            child.wait().expect("it was started");
            world.counts.kills.up();
            world.counts.kills_at_start.up();
        }
        let serving = Serving::start(&world.shell);
        let kills = world.counts.kills.get();
        let is_last = kills >= plan.kills;
        settle(&world, &mut clients, &serving, &first);
        if is_last || kills.is_multiple_of(plan.drain_every) {
            let promised = world.promised.lock().expect("no client panics").clone();
            let missing = world.catcher.wait_for(&promised);
            assert!(missing.is_empty(), "seed {}: lost deliveries {missing:?}", plan.seed);
        }
        if is_last {
            let dead = world.graveyard.lock().expect("no client panics").clone();
            let mut line = serving.line();
            for key in &dead {
                let answer = line.get("/v3/me", key).expect("it runs");
                assert_eq!(answer.status, 401, "a dead key passes: {answer:?}");
            }
            let seconds = (clock.micros() - began) / 1_000_000;
            return figures(&world, plan.seed, dead.len(), seconds);
        }
        work_until_killed(&world, &mut clients, serving, &mut rng, plan.most_changes);
        world.counts.kills.up();
    }
}

/// Everybody finds out where things stand, and all of it is compared.
fn settle(
    world: &World,
    clients: &mut [Box<dyn Client>],
    serving: &Serving,
    first: &BTreeSet<String>,
) {
    let mut line = serving.line();
    let mut truth = Truth::default();
    for client in clients {
        client.settle(world, &mut line).expect("nobody kills it now");
        client.tell(&mut truth);
    }
    let total = format!("\"total_count\":{}", truth.contacts());
    let list = line.get("/v3/contacts", &world.boss).expect("nobody kills it now");
    assert!(list.body.contains(&total), "{total}: {list:?}");
    Database::open(&world.shell.data_dir).check(&truth, first);
    let verified = world.shell.run(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// Whoever ends before the kill, for the server is gone or a promise was not kept, ends the waiting.
struct Alarm<'a>(&'a World);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let (left, is_time) = &self.0.until_kill;
        if let Ok(mut left) = left.lock() {
            *left = 0;
            is_time.notify_all();
        }
    }
}

fn work_until_killed(
    world: &World,
    clients: &mut [Box<dyn Client>],
    serving: Serving,
    rng: &mut Rng,
    most_changes: u64,
) {
    *world.until_kill.0.lock().expect("no client panics") = rng.below(most_changes + 1);
    world.is_gone.store(false, Ordering::SeqCst);
    let micros = rng.below(5000);
    std::thread::scope(|scope| {
        for client in clients {
            // A server that dies at once is one that is not there to be connected to.
            let Ok(mut line) = Line::to(&serving.address) else { continue };
            scope.spawn(move || {
                let _alarm = Alarm(world);
                while client.step(world, &mut line).is_ok() {}
            });
        }
        let (left, is_time) = &world.until_kill;
        let left = left.lock().expect("no client panics");
        drop(is_time.wait_while(left, |left| *left > 0).expect("no client panics"));
        pause(micros);
        serving.kill();
        world.is_gone.store(true, Ordering::SeqCst);
    });
}

fn figures(world: &World, seed: u64, n_dead: usize, seconds: u64) -> Figures {
    let counts = &world.counts;
    let (deliveries, n_again, n_refused) = world.catcher.counts();
    let promised = world.promised.lock().expect("no client panics").len();
    let text = format!(
        "seed {seed}, {seconds} s\n\
         {} kills, {} of them while it started\n\
         {} changes acknowledged over the API, {} by commands, of which {} were killed\n\
         {} refused or pretended, none of them found\n\
         not answered: {} found made, {} made when asked for again, {} commands without effect\n\
         {} answers repeated under their Idempotency-Key, {} single objects asked for\n\
         {promised} events promised, {deliveries} events delivered, {n_again} of them more than once, \
         {n_refused} refused at first\n\
         {n_dead} keys ended, tried {} times meanwhile and each at the end: none passed",
        counts.kills.get(),
        counts.kills_at_start.get(),
        counts.acknowledged.get(),
        counts.by_command.get(),
        counts.commands_killed.get(),
        counts.refused.get(),
        counts.found_done.get(),
        counts.done_late.get(),
        counts.not_done.get(),
        counts.repeated.get(),
        counts.looked_at.get(),
        counts.dead_tried.get(),
    );
    let (kills, acknowledged) = (counts.kills.get(), counts.acknowledged.get());
    Figures { text, kills, acknowledged, deliveries }
}
