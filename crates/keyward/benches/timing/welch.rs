//! Two classes, measured in turns drawn at random; Welch's t over all, and below several thresholds.

use std::time::Instant;

use crate::world::Draw;

/// At or above this a difference is found. The usual bound of the method.
pub(crate) const BOUND: f64 = 4.5;

/// Shares of all measurements, the fastest first, over which t is taken.
pub(crate) const CROPS: [(&str, f64); 5] =
    [("all", 1.0), ("99.9 %", 0.999), ("99 %", 0.99), ("90 %", 0.9), ("50 %", 0.5)];

/// Dropped at the beginning, while caches and clocks warm up.
const WARM_UP: usize = 1000;

pub(crate) struct Outcome {
    pub(crate) n: usize,
    pub(crate) medians: [f64; 2],
    pub(crate) t: [f64; CROPS.len()],
}

impl Outcome {
    /// By how much of the greater one the medians differ.
    pub(crate) fn apart(&self) -> f64 {
        let [a, b] = self.medians;
        (a - b).abs() / a.max(b)
    }

    /// The greatest t, whichever way it points.
    pub(crate) fn greatest(&self) -> f64 {
        self.t.iter().fold(0.0, |most, t| t.abs().max(most))
    }
}

/// Mean and variance, one value at a time.
#[derive(Clone, Copy, Default)]
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.n += 1.0;
        let off = value - self.mean;
        self.mean += off / self.n;
        self.squares += off * (value - self.mean);
    }

    fn variance_of_mean(self) -> f64 {
        self.squares / (self.n - 1.0) / self.n
    }
}

fn t_of(measured: &[(bool, u32)], most: u32) -> f64 {
    let mut classes = [Moments::default(); 2];
    for (class, nanos) in measured.iter().filter(|(_, nanos)| *nanos <= most) {
        classes[usize::from(*class)].add(f64::from(*nanos));
    }
    let [a, b] = classes;
    let spread = a.variance_of_mean() + b.variance_of_mean();
    if spread > 0.0 { (a.mean - b.mean) / spread.sqrt() } else { 0.0 }
}

fn median(measured: &[(bool, u32)], class: bool) -> f64 {
    let of_class = measured.iter().filter(|(of, _)| *of == class);
    let mut nanos: Vec<u32> = of_class.map(|(_, nanos)| *nanos).collect();
    nanos.sort_unstable();
    nanos.get(nanos.len() / 2).copied().map_or(0.0, f64::from)
}

/// Measures `n` times what `run` does with what `prepare` gives for a class drawn at random. Only `run`
/// is measured, and it gets its input in the same place whichever class it is of.
pub(crate) fn compare<T>(
    n: usize,
    seed: u64,
    mut prepare: impl FnMut(bool, &mut Draw) -> T,
    mut run: impl FnMut(&T),
) -> Outcome {
    let mut draw = Draw(seed);
    let mut measured = Vec::with_capacity(n);
    for turn in 0..n + WARM_UP.min(n / 4) {
        let class = draw.next() >> 63 == 1;
        let input = prepare(class, &mut draw);
        #[expect(clippy::disallowed_methods, reason = "time is what is measured here")]
        let began = Instant::now();
        run(&input);
        let nanos = u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX);
        if turn >= WARM_UP.min(n / 4) {
            measured.push((class, nanos));
        }
    }
    let mut sorted: Vec<u32> = measured.iter().map(|(_, nanos)| *nanos).collect();
    sorted.sort_unstable();
    let t = CROPS.map(|(_, share)| {
        let last = ((sorted.len() as f64 * share) as usize).clamp(1, sorted.len()) - 1;
        t_of(&measured, sorted[last])
    });
    let medians = [false, true].map(|class| median(&measured, class));
    Outcome { n: measured.len(), medians, t }
}
