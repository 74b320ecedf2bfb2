//! A client of the API that knows what it was told: what was acknowledged, what was refused, and the
//! one change of which it does not know, because the server died before it answered.

use std::io;

use super::World;
use super::line::{Answer, Line, Rng};
use super::truth::Truth;

/// Answers that are asked for again after a restart.
const REPEATS: usize = 3;

/// A change as it is sent, and sent again.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: String,
    pub(super) key: String,
}

/// What a client has, as far as it was told.
pub(super) trait Model: Send {
    /// What a change is to bring about.
    type Intent: Clone + Send;

    /// The next change; `number` is never given twice.
    fn think(&mut self, world: &World, rng: &mut Rng, number: u64) -> (Ask, Self::Intent);

    /// Takes over an answer. Gives the names of the events that it promises; `None` if nothing was to be
    /// changed, because it was refused or only pretended.
    fn learn(
        &mut self,
        world: &World,
        intent: Self::Intent,
        answer: &Answer,
    ) -> Option<Vec<&'static str>>;

    /// Asks the server for what was changed lately and a sample of the rest.
    fn check(&mut self, world: &World, rng: &mut Rng, line: &mut Line) -> io::Result<()>;

    /// What the database must hold of it.
    fn tell(&self, truth: &mut Truth);
}

/// Whoever works while the server is killed.
pub(super) trait Client: Send {
    /// Asks for one change. An error: the server is gone.
    fn step(&mut self, world: &World, line: &mut Line) -> io::Result<()>;

    /// Finds out after a restart what became of the change that was not answered, and looks whether what
    /// was answered is so.
    fn settle(&mut self, world: &World, line: &mut Line) -> io::Result<()>;

    fn tell(&self, truth: &mut Truth);
}

/// Drives a model over the API. Every change has an `Idempotency-Key` of its own.
pub(super) struct ApiClient<M: Model> {
    model: M,
    /// Makes its `Idempotency-Key`s its own.
    name: &'static str,
    rng: Rng,
    n_asked: u64,
    in_doubt: Option<(String, Ask, M::Intent)>,
    /// Acknowledged since the last restart.
    answered: Vec<(String, Ask, Answer)>,
}

impl<M: Model> ApiClient<M> {
    pub(super) fn new(model: M, name: &'static str, rng: Rng) -> Self {
        Self { model, name, rng, n_asked: 0, in_doubt: None, answered: vec![] }
    }

    fn learn(&mut self, world: &World, name: String, ask: Ask, intent: M::Intent, answer: Answer) {
        let request_id = answer.request_id();
        let events = self.model.learn(world, intent, &answer);
        let counts = &world.counts;
        (if events.is_some() { &counts.acknowledged } else { &counts.refused }).up();
        let events = events.into_iter().flatten();
        world.promise(events.map(|event| (request_id.clone(), event)));
        match answer.status {
            200..300 => self.answered.push((name, ask, answer)),
            400..500 | 503 => {
                assert!(answer.body.contains("\"success\": false"), "{ask:?}: {answer:?}");
            }
            _ => panic!("{ask:?}: {answer:?}"),
        }
    }
}

impl<M: Model> Client for ApiClient<M> {
    fn step(&mut self, world: &World, line: &mut Line) -> io::Result<()> {
        self.n_asked += 1;
        let (ask, intent) = self.model.think(world, &mut self.rng, self.n_asked);
        let name = format!("{}-{}", self.name, self.n_asked);
        self.in_doubt = Some((name.clone(), ask.clone(), intent.clone()));
        let answer = line.send(ask.method, &ask.path, &ask.key, Some(&name), &ask.body)?;
        self.in_doubt = None;
        self.learn(world, name, ask, intent, answer);
        world.acknowledge();
        Ok(())
    }

    fn settle(&mut self, world: &World, line: &mut Line) -> io::Result<()> {
        if let Some((name, ask, intent)) = self.in_doubt.take() {
            let answer = line.send(ask.method, &ask.path, &ask.key, Some(&name), &ask.body)?;
            let counts = &world.counts;
            (if answer.is_repeated() { &counts.found_done } else { &counts.done_late }).up();
            self.learn(world, name, ask, intent, answer);
        }
        // An answer that was kept is repeated, and its change is not made a second time.
        for _ in 0..REPEATS {
            let Some((name, ask, first)) = self.rng.pick(&self.answered) else { break };
            let again = line.send(ask.method, &ask.path, &ask.key, Some(name), &ask.body)?;
            assert!(again.is_repeated(), "{ask:?}: {again:?}");
            let told = |answer: &Answer| (answer.status, answer.body.clone(), answer.request_id());
            assert_eq!(told(&again), told(first), "{ask:?}");
            world.counts.repeated.up();
        }
        self.answered.clear();
        self.model.check(world, &mut self.rng, line)
    }

    fn tell(&self, truth: &mut Truth) {
        self.model.tell(truth);
    }
}
