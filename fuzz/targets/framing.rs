//! Requests of a client, sound and unsound, against the whole proxy: nothing reaches the API that RFC
//! 9112 does not read as a request, each once and in its order, and behind any answer the connection ends
//! or the next request begins exactly where it should.
//!
//! An input chooses several connections, which are served at once; where it is too short, chance chooses,
//! always the same way for the same input. What RFC 9112 reads is said by the strict parser of the tests.

#![no_main]

#[path = "framing/generate.rs"]
mod generate;
#[path = "../../tests/it/support/rfc9112.rs"]
#[allow(dead_code)] // The tests ask more of it.
mod rfc9112;
#[path = "framing/world.rs"]
mod world;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;

use libfuzzer_sys::fuzz_target;

use generate::{Choices, Connection};
use rfc9112::{Request, reading};
use world::{TOKEN, World};

/// Connections of one input.
const AT_ONCE: usize = 8;

thread_local! {
    static WORLD: OnceCell<World> = const { OnceCell::new() };
    static TALLY: std::cell::RefCell<Tally> = const { std::cell::RefCell::new(Tally::new()) };
}

fuzz_target!(|data: &[u8]| {
    WORLD.with(|world| {
        let world = world.get_or_init(World::start);
        let share = data.len().div_ceil(AT_ONCE);
        let connections: Vec<_> = (0..AT_ONCE)
            .map(|number| {
                let own = data.chunks(share.max(1)).nth(number).unwrap_or_default();
                generate::connection(&mut Choices::new(own, data, number), number, &world.via)
            })
            .collect();
        let (answers, mut arrived) = world.serve(&connections);
        for (number, (connection, raw)) in connections.iter().zip(&answers).enumerate() {
            let of_this = |request: &Request| marked(request).starts_with(&format!("{number}-"));
            let own: Vec<_> = arrived.extract_if(.., |request| of_this(request)).collect();
            check(connection, raw, &own);
        }
        assert!(arrived.is_empty(), "out of nowhere: {arrived:?}");
    });
});

/// Which request it is, as it was generated.
fn marked(request: &Request) -> String {
    let marks = request.values("x-mark");
    let mark = marks.first().copied().unwrap_or_default();
    String::from_utf8_lossy(mark).into_owned()
}

fn check(connection: &Connection, raw: &[u8], arrived: &[Request]) {
    let (read, why) = reading(&connection.bytes);
    let told = || {
        let (sent, raw) = (connection.bytes.escape_ascii(), raw.escape_ascii());
        format!("sent {sent}\nread {read:?} {why}\narrived {arrived:?}\nanswered {raw}")
    };
    let answers = answers(raw, &read);
    let answers = answers.unwrap_or_else(|wrong| panic!("{wrong}: {}", told()));
    // A request that is answered is one that RFC 9112 reads, or the refusal of what is not a request.
    assert!(answers.len() <= read.len() + 1, "{}", told());
    let mut theirs = arrived.iter();
    for (number, answer) in answers.iter().enumerate() {
        let last = number + 1 == answers.len();
        assert!(last || !answer.closes, "behind the end: {}", told());
        if answer.ours {
            assert!(number < read.len() || last && answer.closes, "{}", told());
            continue;
        }
        let (Some(sent), Some(seen)) = (read.get(number), theirs.next()) else {
            panic!("an answer to none: {}", told());
        };
        let gist = |request: &Request| {
            let (method, body) = (request.method.clone(), request.body.clone());
            (method, marked(request), body)
        };
        assert_eq!(gist(seen), gist(sent), "{}", told());
        assert!(seen.doubts.is_empty(), "{:?}: {}", seen.doubts, told());
        assert_eq!(seen.values("authorization"), [TOKEN], "{}", told());
    }
    assert!(theirs.next().is_none(), "not answered: {}", told());
    // Fewer answers than requests: then it has ended, and said so.
    if answers.len() < read.len() {
        assert!(answers.last().is_some_and(|last| last.closes), "{}", told());
    }
    TALLY.with_borrow_mut(|tally| tally.count(&read, why, &answers));
}

/// An answer, as far as it matters here.
struct Answer {
    status: u16,
    ours: bool,
    closes: bool,
}

/// The final answers, one behind the other, each with a length.
fn answers(raw: &[u8], read: &[Request]) -> Result<Vec<Answer>, &'static str> {
    let mut rest = String::from_utf8_lossy(raw).into_owned();
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (head, behind) = rest.split_once("\r\n\r\n").ok_or("a head is cut")?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or("an answer without a status")?;
        let head = head.to_lowercase();
        if status == 100 {
            rest = behind.to_owned();
            continue;
        }
        let ours = head.contains("\r\nproxy-status: sidebearer;");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: Option<usize> = length.and_then(|length| length.parse().ok());
        let asked = read.get(answers.len());
        // A refusal of what is not a complete request has a body, also to HEAD.
        let to_head = asked.is_some_and(|asked| asked.method == "HEAD");
        let length = if to_head && !(ours && behind.starts_with('{')) {
            0
        } else if ours {
            // The answer to a HEAD whose body is malformed has no length.
            length.unwrap_or(0)
        } else {
            length.ok_or("an answer without a length")?
        };
        answers.push(Answer {
            status,
            ours,
            closes: head.contains("\r\nconnection: close"),
        });
        rest = behind.get(length..).ok_or("an answer is cut")?.to_owned();
    }
    Ok(answers)
}

/// What has been tried.
struct Tally {
    connections: u64,
    read: u64,
    arrived: u64,
    why: BTreeMap<&'static str, u64>,
    refused: BTreeMap<u16, u64>,
}

impl Tally {
    const fn new() -> Self {
        Self {
            connections: 0,
            read: 0,
            arrived: 0,
            why: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    fn count(&mut self, read: &[Request], why: &'static str, answers: &[Answer]) {
        self.connections += 1;
        self.read += read.len() as u64;
        *self.why.entry(why).or_default() += 1;
        for answer in answers {
            if answer.ours {
                *self.refused.entry(answer.status).or_default() += 1
            } else {
                self.arrived += 1
            }
        }
        if self.connections.is_multiple_of(1000) {
            eprintln!("cases: {self}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} requests read, {} arrived, refused {:?}, ends {:?}",
            self.connections, self.read, self.arrived, self.refused, self.why
        )
    }
}
