//! What a client sends: requests with everything that some reader takes otherwise than another.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// What one connection sends, and in which pieces.
pub struct Connection {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Where a piece ends.
    pub cuts: Vec<usize>,
}

/// Choices of an input, then of chance.
pub struct Choices<'i> {
    given: std::slice::Iter<'i, u8>,
    state: u64,
}

impl<'i> Choices<'i> {
    /// First `own`; then what follows from `whole` and `number`.
    pub fn new(own: &'i [u8], whole: &[u8], number: usize) -> Self {
        let mut hasher = DefaultHasher::new();
        (whole, number).hash(&mut hasher);
        Self {
            given: own.iter(),
            state: hasher.finish() | 1,
        }
    }

    fn byte(&mut self) -> u8 {
        if let Some(given) = self.given.next() {
            return *given;
        }
        // A xorshift generator.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.to_be_bytes()[0]
    }

    fn below(&mut self, end: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % end.max(1)
    }

    /// So often, of 256.
    fn chance(&mut self, often: u8) -> bool {
        self.byte() < often
    }

    fn any<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// The first one mostly.
    fn mostly<'a>(&mut self, of: &[&'a str]) -> &'a str {
        if self.chance(240) {
            of[0]
        } else {
            self.any(of)
        }
    }
}

const METHODS: [&str; 15] = [
    "POST", "GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "CONNECT", "trace",
    "connect", "BREW", "get", "P(ST", "",
];
const TARGETS: [&str; 22] = [
    "/",
    "/a?b",
    "/crm/x",
    "/%e4/%41",
    "/./x",
    "/a/../b",
    "*",
    "http://localhost/x",
    "http://localhost",
    "http://foreign.example/",
    "localhost:80",
    "/%C0%AE/",
    "/#x",
    "//x",
    "/a b",
    "/\\x",
    "/\u{1}",
    "http://localhost?x",
    "http://u@localhost/",
    "",
    "/%zz",
    "/caf\u{e9}",
];
const VERSIONS: [&str; 8] = [
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/2.0",
    "http/1.1",
    "HTTP/1.1 ",
    "HTTP/01.1",
    "",
];
const LINE_ENDS: [&str; 5] = ["\r\n", "\n", "\r", "\r\r\n", "\n\r\n"];
const HOSTS: [&str; 12] = [
    "Host: localhost\r\n",
    "Host: poor\r\n",
    "Host: down\r\n",
    "Host: narrow\r\n",
    "Host: foreign.example\r\n",
    "",
    "Host: localhost\r\nHost: localhost\r\n",
    "Host: localhost\r\nhost: foreign.example\r\n",
    "Host : localhost\r\n",
    "Host:localhost:80\r\n",
    "Host: u@localhost\r\n",
    "Host:\r\n",
];
const LINES: [&str; 24] = [
    "X: y",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: x, content-length",
    "Connection: transfer-encoding",
    "Connection: close, keep-alive",
    "Expect: 100-continue",
    "Expect: x",
    "Sec-Fetch-Site: cross-site",
    "Origin: http://foreign.example",
    "Upgrade: websocket\r\nConnection: upgrade",
    "Upgrade: h2c\r\nConnection: upgrade",
    "TE: trailers",
    "Trailer: X",
    "Transfer_Encoding: chunked",
    "Content_Length: 5",
    "Content-Type: application/grpc",
    "Authorization: Bearer mine",
    "X: y\r\n folded",
    " X: y",
    "X : y",
    "X",
    ": y",
    "X: \u{e9}\t\"",
];
const CODINGS: [&str; 20] = [
    "chunked",
    "Chunked",
    "CHUNKED",
    "gzip",
    "identity",
    "chunked, chunked",
    "gzip, chunked",
    "chunked, gzip",
    "xchunked",
    "chunkedx",
    "chunked;q=1",
    "\"chunked\"",
    ",chunked",
    "chunked,",
    "",
    "\u{b}chunked",
    "chunked\u{c}",
    "chun\tked",
    "chunked\r\n ",
    "\r\n chunked",
];
const NAME_ENDS: [&str; 8] = [": ", ":", ":\t", ": \t ", " : ", "\t:", "_: ", "\u{b}: "];

/// One connection: requests, and one behind them that ends it.
pub fn connection(choices: &mut Choices<'_>, number: usize, via: &str) -> Connection {
    let mut bytes = Vec::new();
    for request in 0..1 + choices.below(3) {
        let mark = format!("{number}-{request}");
        message(choices, &mark, via, &mut bytes);
    }
    if choices.chance(248) {
        bytes.extend(plain(&format!("{number}-probe"), "Connection: close\r\n").bytes());
    }
    let cuts = match choices.below(16) {
        // One by one.
        0 => (1..bytes.len().min(400)).collect(),
        1..8 => {
            let mut cuts: Vec<_> = (0..choices.below(8))
                .map(|_| choices.below(bytes.len()))
                .collect();
            cuts.sort_unstable();
            cuts
        }
        _ => Vec::new(),
    };
    Connection { bytes, cuts }
}

fn plain(mark: &str, lines: &str) -> String {
    format!("GET /plain HTTP/1.1\r\nHost: localhost\r\nX-Mark: {mark}\r\n{lines}\r\n")
}

fn message(choices: &mut Choices<'_>, mark: &str, via: &str, to: &mut Vec<u8>) {
    if choices.chance(6) {
        to.extend(choices.any(&LINE_ENDS).bytes());
    }
    let hidden = plain(&format!("{mark}-hidden"), "");
    let method = if choices.chance(128) {
        choices.any(&["POST", "PUT", "GET"])
    } else {
        choices.any(&METHODS)
    };
    let target = choices.mostly(&TARGETS);
    let version = choices.mostly(&VERSIONS);
    let blank = |choices: &mut Choices<'_>| {
        if choices.chance(4) {
            choices.any(&["  ", "\t", "", " \u{b}"])
        } else {
            " "
        }
    };
    let (before, behind) = (blank(choices), blank(choices));
    let mut head = format!("{method}{before}{target}{behind}{version}");
    let line_end = |choices: &mut Choices<'_>| {
        if choices.chance(3) {
            choices.any(&LINE_ENDS)
        } else {
            "\r\n"
        }
    };
    head.push_str(line_end(choices));
    head.push_str(choices.mostly(&HOSTS));
    head.push_str(&format!("X-Mark: {mark}\r\n"));
    if choices.chance(8) {
        head.push_str(&format!("Via: {via}\r\n"));
    }
    let body = body(choices, &hidden);
    let mut lines = Vec::new();
    for _ in 0..choices.below(3) {
        let line = choices.any(&LINES);
        lines.push(if choices.chance(40) {
            line.to_owned()
        } else {
            "X: y".to_owned()
        });
    }
    lines.extend(framing(choices, &body, &hidden));
    // Anywhere among the others.
    let turn = choices.below(lines.len());
    lines.rotate_left(turn);
    for line in lines {
        head.push_str(&line);
        head.push_str(line_end(choices));
    }
    head.push_str(line_end(choices));
    to.extend(head.bytes());
    to.extend(body.bytes);
}

/// A body, and how it would be framed rightly.
struct Body {
    bytes: Vec<u8>,
    chunked: bool,
}

fn body(choices: &mut Choices<'_>, hidden: &str) -> Body {
    let plain = match choices.below(4) {
        0 => String::new(),
        1 => "hello".to_owned(),
        2 => hidden.to_owned(),
        _ => format!("0\r\n\r\n{hidden}"),
    };
    let chunked = choices.chance(110);
    let bytes = if chunked {
        chunks(choices, hidden).into_bytes()
    } else {
        plain.into_bytes()
    };
    Body { bytes, chunked }
}

fn chunks(choices: &mut Choices<'_>, hidden: &str) -> String {
    let mut out = String::new();
    for _ in 0..choices.below(3) {
        let data = choices.any(&["hello", hidden, "0\r\n\r\n", "x"]);
        let length = data.len();
        let wrong = if choices.chance(8) {
            choices.below(20)
        } else {
            length
        };
        let size = if choices.chance(24) {
            match choices.below(16) {
                0 => format!("{wrong:X}"),
                1 => format!("000{wrong:x}"),
                2 => format!("+{wrong:x}"),
                3 => format!("-{wrong:x}"),
                4 => format!("0x{wrong:x}"),
                5 => format!("{wrong:x};a=\"b\""),
                6 => format!("{wrong:x} ;a"),
                7 => format!("{wrong:x} "),
                8 => format!(" {wrong:x}"),
                9 => format!("1{wrong:016x}"),
                10 => format!("{wrong:x}\t"),
                11 => format!("{wrong:x};\n"),
                12 => format!("{wrong:x};\r"),
                13 => format!("{wrong:x}_"),
                14 => format!("{wrong:x}\0"),
                _ => String::new(),
            }
        } else {
            format!("{wrong:x}")
        };
        let end = |choices: &mut Choices<'_>| {
            if choices.chance(8) {
                choices.any(&["\n", "\r", "", "\r\n\r\n", "X\r\n"])
            } else {
                "\r\n"
            }
        };
        out.push_str(&size);
        out.push_str(end(choices));
        out.push_str(data);
        out.push_str(end(choices));
    }
    out.push_str(if choices.chance(24) {
        choices.any(&[
            "000\r\n", "0;x\r\n", "0\n", "", "0", "00 \r\n", "0\r", "0x0\r\n",
        ])
    } else {
        "0\r\n"
    });
    if choices.chance(40) {
        out.push_str(choices.any(&[
            "Y: z\r\n",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Host: foreign.example\r\n",
            "Authorization: Bearer mine\r\n",
            "Y : z\r\n",
            "Y: z\n",
            " Y: z\r\n",
            "Y\r\n",
        ]));
    }
    out.push_str(if choices.chance(12) {
        choices.any(&["\n", "", "\r", "\r\n\r\n"])
    } else {
        "\r\n"
    });
    out
}

/// Lines that tell of the body: the right one mostly, others too.
fn framing(choices: &mut Choices<'_>, body: &Body, hidden: &str) -> Vec<String> {
    let length = |choices: &mut Choices<'_>| {
        let whole = body.bytes.len();
        match choices.below(24) {
            0 => "0".to_owned(),
            1 => "1".to_owned(),
            2 => format!("{}", whole + hidden.len()),
            3 => format!("{}", whole.saturating_sub(hidden.len())),
            4 => format!("+{whole}"),
            5 => format!("-{whole}"),
            6 => format!("{whole}, {whole}"),
            7 => format!("0{whole}"),
            8 => format!("0x{whole:x}"),
            9 => format!("{}", (1_u128 << 64) + whole as u128),
            10 => format!("{}", 1_u64 << 63),
            11 => format!("{whole} {whole}"),
            12 => String::new(),
            13 => format!("{whole};"),
            14 => format!("{whole}.0"),
            15 => format!("\"{whole}\""),
            16 => format!("{whole}\u{b}"),
            _ => whole.to_string(),
        }
    };
    let line = |choices: &mut Choices<'_>, chunked: bool| {
        let (name, value) = if chunked {
            let value = choices.mostly(&CODINGS).to_owned();
            (
                choices.mostly(&[
                    "Transfer-Encoding",
                    "transfer-encoding",
                    "Transfer_Encoding",
                ]),
                value,
            )
        } else {
            let value = if choices.chance(64) {
                length(choices)
            } else {
                body.bytes.len().to_string()
            };
            (
                choices.mostly(&["Content-Length", "content-length", "Content_Length"]),
                value,
            )
        };
        let end = if choices.chance(10) {
            choices.any(&NAME_ENDS)
        } else {
            ": "
        };
        format!("{name}{end}{value}")
    };
    let mut lines = Vec::new();
    if choices.chance(232) {
        lines.push(line(choices, body.chunked));
    }
    // A second one, and a third.
    for often in [64, 48] {
        if choices.chance(often) {
            let chunked = choices.chance(128);
            lines.push(line(choices, chunked));
        }
    }
    lines
}
