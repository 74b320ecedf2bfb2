//! Counting requests for `/metrics`: by the thread that answers, added up when somebody looks.
//!
//! Each thread that answers counts on a sheet of its own, which nobody else writes: a request costs three
//! plain additions on memory that is this thread's alone. What a series is told apart by is a closed
//! list, areas, codes and reasons; no path, method, key or address gets here.
//!
//! Bound: one sheet of 7 KB for each thread that ever answered a request of this server.
//! Locks: one mutex around the list of sheets, held when a thread answers its first request and by
//! whoever adds up.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use keyward_core::account::{RateClass, words};
use keyward_core::usage::Outcome;
use keyward_tower::Code;

use super::exposition::Exposition;

words! {
    /// A part of the server, for telling requests apart.
    Area {
        Me = "me",
        Contacts = "contacts",
        Users = "users",
        Webhooks = "webhooks",
        ApiKeys = "api_keys",
        Dashboard = "dashboard",
        Docs = "docs",
        Health = "health",
        /// No such path.
        Unknown = "unknown",
        /// Bytes that were no request.
        Unreadable = "unreadable",
    }
}

words! {
    /// The limit that refused a request.
    Pool {
        Standard = "standard",
        Sensitive = "sensitive",
        WebhookTest = "webhook_test",
        /// Requests without a good key, of an address.
        Guesses = "guesses",
    }
}

impl From<RateClass> for Pool {
    fn from(class: RateClass) -> Self {
        match class {
            RateClass::Standard => Self::Standard,
            RateClass::Sensitive => Self::Sensitive,
            RateClass::WebhookTest => Self::WebhookTest,
        }
    }
}

impl Area {
    /// The area of a route, by its pattern.
    #[must_use]
    pub const fn of(pattern: &str) -> Self {
        const BELOW: [(&str, Area); 9] = [
            ("/v3/me", Area::Me),
            ("/v3/contacts", Area::Contacts),
            ("/v3/users", Area::Users),
            ("/v3/webhooks", Area::Webhooks),
            ("/v3/api-keys", Area::ApiKeys),
            ("/health", Area::Health),
            ("/docs", Area::Docs),
            ("/errors", Area::Docs),
            ("/openapi.json", Area::Docs),
        ];
        let mut row = 0;
        while row < BELOW.len() {
            let (front, area) = BELOW[row];
            if begins_with(pattern, front) {
                return area;
            }
            row += 1;
        }
        Self::Dashboard
    }
}

const fn begins_with(text: &str, front: &str) -> bool {
    let (text, front) = (text.as_bytes(), front.as_bytes());
    let mut at = 0;
    while at < front.len() {
        if at >= text.len() || text[at] != front[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Upper bounds of the times that are counted together, in microseconds.
const BOUNDS_MICROS: [u64; 15] = [
    25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// Answers without a code, by status.
const PLAIN: [Outcome; 5] =
    [Outcome::Ok, Outcome::Invalid, Outcome::Forbidden, Outcome::Limited, Outcome::Failed];

/// The door's reasons, with the code and the outcome of each; those that floods are made of first.
const REASONS: [(&str, Option<Code>, Outcome); 18] = [
    ("key_unknown", Some(Code::KeyInvalid), Outcome::Unknown),
    ("guesses_limited", Some(Code::RateLimited), Outcome::Limited),
    ("rate_limited", Some(Code::RateLimited), Outcome::Limited),
    ("key_missing", Some(Code::NotAuthenticated), Outcome::Missing),
    ("key_malformed", Some(Code::KeyInvalid), Outcome::Malformed),
    ("key_repeated", Some(Code::KeyInvalid), Outcome::Malformed),
    ("key_revoked", Some(Code::KeyInvalid), Outcome::Revoked),
    ("key_expired", Some(Code::KeyInvalid), Outcome::Expired),
    ("key_disabled", Some(Code::KeyInvalid), Outcome::Disabled),
    ("key_rotated", Some(Code::KeyInvalid), Outcome::Rotated),
    ("address_not_allowed", Some(Code::KeyInvalid), Outcome::Address),
    ("account_suspended", Some(Code::AccountNotActive), Outcome::Forbidden),
    ("account_verification_pending", Some(Code::AccountNotVerified), Outcome::Forbidden),
    ("account_channel_pending", Some(Code::AccountHasNoChannel), Outcome::Forbidden),
    ("profile_malformed", Some(Code::UuidInvalid), Outcome::Invalid),
    ("profile_forbidden", Some(Code::PermissionMissing), Outcome::Forbidden),
    ("profile_unknown", Some(Code::CustomerNotFound), Outcome::Invalid),
    // The client went away before it was answered.
    ("client_gone", None, Outcome::Invalid),
];

const AREAS: usize = Area::ALL.len();
const CODES_FROM: usize = PLAIN.len();
const REASONS_FROM: usize = CODES_FROM + Code::ALL.len();
const ENDS: usize = REASONS_FROM + REASONS.len();
const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// One answered request, as far as it is counted.
#[derive(Clone, Copy)]
pub struct Counted<'a> {
    pub area: Area,
    pub status: u16,
    pub code: Option<Code>,
    /// The door's word for why it refused.
    pub reason: Option<&'a str>,
    /// The limit of the route, in case that was the reason.
    pub class: RateClass,
    pub micros: u64,
}

impl Counted<'_> {
    /// How it ended: its place in a row of the sheet.
    fn end(&self) -> usize {
        if let Some(reason) = self.reason
            && let Some(place) = REASONS.iter().position(|(known, ..)| *known == reason)
        {
            return REASONS_FROM + place;
        }
        match (self.code, self.status) {
            (Some(code), _) => CODES_FROM + code as usize,
            (None, 500..) => 4,
            (None, 429) => 3,
            (None, 403) => 2,
            (None, 400..) => 1,
            (None, _) => 0,
        }
    }
}

/// What one thread counted. Apart from other memory, so that no two threads share a cache line.
#[repr(align(128))]
struct Sheet {
    ends: [[AtomicU64; ENDS]; AREAS],
    took: [[AtomicU64; BUCKETS]; AREAS],
    sum_micros: [AtomicU64; AREAS],
    limited: [AtomicU64; Pool::ALL.len()],
}

const _: () = assert!(size_of::<Sheet>() <= 7 * 1024);

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl Default for Sheet {
    fn default() -> Self {
        Self {
            ends: std::array::from_fn(|_| zeros()),
            took: std::array::from_fn(|_| zeros()),
            sum_micros: zeros(),
            limited: zeros(),
        }
    }
}

/// Adds to what only this thread writes. Invariant: a sheet is reached for writing through
/// `Meter::on_sheet` alone, which gives each thread its own.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl Sheet {
    fn count(&self, request: &Counted<'_>) {
        let (area, end) = (request.area as usize, request.end());
        add(&self.ends[area][end], 1);
        let bucket = BOUNDS_MICROS.iter().position(|bound| request.micros <= *bound);
        add(&self.took[area][bucket.unwrap_or(BUCKETS - 1)], 1);
        add(&self.sum_micros[area], request.micros);
        if request.status == 429 {
            let pool = match request.reason {
                Some("guesses_limited") => Pool::Guesses,
                Some("rate_limited") => Pool::from(request.class),
                _ => return,
            };
            add(&self.limited[pool as usize], 1);
        }
    }
}

/// Counts requests. Its clones are the same meter.
#[derive(Clone, Default)]
pub struct Meter(Arc<Shared>);

struct Shared {
    /// Tells meters apart where several servers run in one process.
    number: u64,
    sheets: Mutex<Vec<(ThreadId, Arc<Sheet>)>>,
}

impl Default for Shared {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), sheets: Mutex::default() }
    }
}

impl Meter {
    /// Counts one answered request.
    pub fn count(&self, request: &Counted<'_>) {
        thread_local! {
            /// This thread's sheet, and of which meter.
            static MINE: RefCell<Option<(u64, Arc<Sheet>)>> = const { RefCell::new(None) };
        }
        MINE.with_borrow_mut(|mine| match mine {
            Some((number, sheet)) if *number == self.0.number => sheet.count(request),
            _ => {
                let sheet = self.own_sheet();
                sheet.count(request);
                *mine = Some((self.0.number, sheet));
            }
        });
    }

    /// The sheet of this thread; a new one for its first request.
    #[cold]
    fn own_sheet(&self) -> Arc<Sheet> {
        let thread = std::thread::current().id();
        let mut sheets = self.0.sheets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sheet)) = sheets.iter().find(|(owner, _)| *owner == thread) {
            return Arc::clone(sheet);
        }
        let sheet = Arc::<Sheet>::default();
        sheets.push((thread, Arc::clone(&sheet)));
        sheet
    }

    /// Adds up what all threads counted, and writes it.
    pub fn write(&self, text: &mut Exposition) {
        let sheets = self.0.sheets.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: &dyn Fn(&Sheet) -> &AtomicU64| {
            sheets.iter().map(|(_, sheet)| of(sheet).load(Ordering::Relaxed)).sum::<u64>()
        };
        let mut metric = text.counter(
            "keyward_requests_total",
            "Requests that were answered, by area, outcome, code of the answer and the door's reason.",
        );
        for area in Area::ALL {
            for end in 0..ENDS {
                let n = sum(&|sheet| &sheet.ends[*area as usize][end]);
                // What never happened is no series, for most ends cannot happen in most areas.
                if n > 0 || end == 0 && *area != Area::Unreadable {
                    let (outcome, code, reason) = told(end);
                    let labels = [
                        ("area", area.as_str()),
                        ("outcome", outcome.as_str()),
                        ("code", code.map_or("", Code::as_str)),
                        ("reason", reason),
                    ];
                    metric.put(&labels, n);
                }
            }
        }
        let mut metric = text.histogram(
            "keyward_request_duration_seconds",
            "Time from a request's head to its answer, by area.",
        );
        for area in Area::ALL {
            let counts: [u64; BUCKETS] =
                std::array::from_fn(|bucket| sum(&|sheet| &sheet.took[*area as usize][bucket]));
            if counts.iter().any(|count| *count > 0) {
                let sum_micros = sum(&|sheet| &sheet.sum_micros[*area as usize]);
                let labels = [("area", area.as_str())];
                metric.put_histogram(&labels, &BOUNDS_MICROS, &counts, sum_micros);
            }
        }
        let mut metric = text.counter(
            "keyward_limit_rejections_total",
            "Requests refused because a limit was reached, by the limit's class.",
        );
        for pool in Pool::ALL {
            metric.put(&[("class", pool.as_str())], sum(&|sheet| &sheet.limited[*pool as usize]));
        }
    }
}

/// What a place in a row of the sheet stands for.
fn told(end: usize) -> (Outcome, Option<Code>, &'static str) {
    if let Some((reason, code, outcome)) = end.checked_sub(REASONS_FROM).map(|row| REASONS[row]) {
        return (outcome, code, reason);
    }
    let Some(code) = end.checked_sub(CODES_FROM).map(|row| Code::ALL[row]) else {
        return (PLAIN[end], None, "");
    };
    let outcome = match code.status().as_u16() {
        500.. => Outcome::Failed,
        429 => Outcome::Limited,
        403 => Outcome::Forbidden,
        _ => Outcome::Invalid,
    };
    (outcome, Some(code), "")
}

#[cfg(test)]
mod tests {
    use keyward_core::account::AccountState;
    use keyward_core::key::ParseKeyError;
    use keyward_core::time::UnixMillis;
    use keyward_core::verdict::Refusal;

    use super::*;

    fn written(meter: &Meter) -> String {
        let mut text = Exposition::default();
        meter.write(&mut text);
        text.into_text()
    }

    fn request(area: Area, status: u16) -> Counted<'static> {
        let class = RateClass::Standard;
        Counted { area, status, code: None, reason: None, class, micros: 30 }
    }

    #[test]
    fn every_reason_of_the_door_has_a_row_with_its_code() {
        let since = UnixMillis(0);
        let mut all = vec![
            Refusal::Missing,
            Refusal::Several,
            Refusal::Malformed(ParseKeyError::Hyphen { position: 9 }),
            Refusal::Unknown,
            Refusal::Expired { since },
            Refusal::Rotated { since },
            Refusal::Disabled,
            Refusal::Revoked,
            Refusal::Address,
            Refusal::Limited,
            Refusal::Guessing,
            Refusal::ProfileMalformed,
            Refusal::ProfileForbidden,
            Refusal::ProfileUnknown,
        ];
        all.extend(AccountState::ALL.iter().map(|state| Refusal::Account(*state)));
        for refusal in &all {
            // A new refusal does not compile until it is in the list above.
            match refusal {
                Refusal::Missing
                | Refusal::Several
                | Refusal::Malformed(_)
                | Refusal::Unknown
                | Refusal::Expired { .. }
                | Refusal::Rotated { .. }
                | Refusal::Disabled
                | Refusal::Revoked
                | Refusal::Address
                | Refusal::Account(_)
                | Refusal::Limited
                | Refusal::Guessing
                | Refusal::ProfileMalformed
                | Refusal::ProfileForbidden
                | Refusal::ProfileUnknown => {}
            }
            let row = REASONS.iter().find(|(reason, ..)| *reason == refusal.reason());
            let (_, code, _) = row.unwrap_or_else(|| panic!("{refusal:?} has no row"));
            assert_eq!(*code, Some(Code::of(refusal)), "{refusal:?}");
        }
        for (number, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, number);
        }
    }

    #[test]
    fn requests_are_counted_by_area_outcome_code_and_reason() {
        let meter = Meter::default();
        let refused = |code, reason, status, micros| Counted {
            code: Some(code),
            reason,
            micros,
            ..request(Area::Contacts, status)
        };
        meter.count(&request(Area::Contacts, 200));
        meter.count(&refused(Code::AlreadyExists, None, 409, 5_000_001));
        for _ in 0..2 {
            meter.count(&refused(Code::KeyInvalid, Some("key_revoked"), 401, 25));
        }
        meter.count(&Counted {
            class: RateClass::Sensitive,
            ..refused(Code::RateLimited, Some("rate_limited"), 429, 26)
        });
        meter.count(&refused(Code::RateLimited, Some("guesses_limited"), 429, 26));
        meter.count(&request(Area::Dashboard, 500));
        let text = written(&meter);
        for line in [
            "keyward_requests_total{area=\"contacts\",outcome=\"ok\"} 1",
            "keyward_requests_total{area=\"contacts\",outcome=\"revoked\",code=\"AUTH_002\",reason=\"key_revoked\"} 2",
            "keyward_requests_total{area=\"dashboard\",outcome=\"failed\"} 1",
            "keyward_requests_total{area=\"users\",outcome=\"ok\"} 0",
            "keyward_request_duration_seconds_bucket{area=\"contacts\",le=\"0.000025\"} 2",
            "keyward_request_duration_seconds_bucket{area=\"contacts\",le=\"5\"} 5",
            "keyward_request_duration_seconds_bucket{area=\"contacts\",le=\"+Inf\"} 6",
            "keyward_request_duration_seconds_sum{area=\"contacts\"} 5.000133",
            "keyward_limit_rejections_total{class=\"standard\"} 0",
            "keyward_limit_rejections_total{class=\"sensitive\"} 1",
            "keyward_limit_rejections_total{class=\"guesses\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let conflict = "outcome=\"invalid\",code=\"";
        assert_eq!(text.matches(conflict).count(), 1, "{text}");
    }

    #[test]
    fn nothing_is_lost_between_threads_and_a_meter_counts_its_own_alone() {
        let (meter, other) = (Meter::default(), Meter::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        meter.count(&request(Area::Me, 200));
                        other.count(&request(Area::Docs, 200));
                    }
                });
            }
        });
        assert!(written(&meter).contains("{area=\"me\",outcome=\"ok\"} 40000\n"));
        assert!(written(&meter).contains("{area=\"docs\",outcome=\"ok\"} 0\n"));
        assert!(written(&other).contains("{area=\"docs\",outcome=\"ok\"} 40000\n"));
        assert_eq!(meter.0.sheets.lock().expect("nobody panics with it").len(), 4);
    }

    #[test]
    fn an_area_is_told_by_the_front_of_the_pattern() {
        let check = |pattern, expected| assert_eq!(Area::of(pattern), expected, "{pattern}");
        check("/v3/me", Area::Me);
        check("/v3/contacts/{id}", Area::Contacts);
        check("/v3/api-keys/self", Area::ApiKeys);
        check("/health/ready", Area::Health);
        check("/healthcheck", Area::Health);
        check("/errors/{code}", Area::Docs);
        check("/keys/{id}", Area::Dashboard);
        check("/", Area::Dashboard);
    }
}
