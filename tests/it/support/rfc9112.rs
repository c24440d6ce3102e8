//! HTTP/1.1 requests as RFC 9112 reads them, by a parser that forgives nothing: the reference for what
//! we read, in tests and in fuzzing.

/// A field as it was on the wire.
pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// A request that arrived whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// Says that nothing may follow: it asks for the end, or more than one framing makes one necessary
    /// (RFC 9112 section 6.3).
    pub(crate) last: bool,
    /// What some other reader could have taken differently.
    pub(crate) doubts: Vec<&'static str>,
}

impl Request {
    /// The values of a field, whatever the case of its name.
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        let same = |field: &&Field| field.0.eq_ignore_ascii_case(name.as_bytes());
        let values = self.fields.iter().filter(same);
        values.map(|(_, value)| value.as_slice()).collect()
    }

    /// The only value of a field, as text; empty when there is none.
    pub(crate) fn value(&self, name: &str) -> String {
        let values = self.values(name);
        assert!(values.len() < 2, "several {name}: {values:?}");
        values.first().map_or_else(String::new, |value| {
            String::from_utf8_lossy(value).into_owned()
        })
    }

    /// The names as they were written, in their order.
    pub(crate) fn names(&self) -> Vec<&str> {
        let name = |field| -> &str { std::str::from_utf8(field).unwrap() };
        self.fields.iter().map(|(field, _)| name(field)).collect()
    }
}

/// What bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A request, and how many bytes it has.
    Complete(Box<Request>, usize),
    /// The beginning of one.
    More,
    /// None that RFC 9112 allows, or none that is read in one way only.
    Bad(&'static str),
}

type Strict<T> = Result<T, Stop>;

enum Stop {
    More,
    Bad(&'static str),
}

/// The request that `bytes` begin with.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut reader = Reader { bytes, at: 0 };
    match request(&mut reader) {
        Ok(request) => Parsed::Complete(Box::new(request), reader.at),
        Err(Stop::More) => Parsed::More,
        Err(Stop::Bad(why)) => Parsed::Bad(why),
    }
}

/// All requests of a connection whose client sends these bytes, as RFC 9112 reads them; the second
/// says why there are no more.
pub(crate) fn reading(mut bytes: &[u8]) -> (Vec<Request>, &'static str) {
    let mut requests = Vec::new();
    loop {
        match parse(bytes) {
            _ if bytes.is_empty() => return (requests, "end"),
            Parsed::More => return (requests, "incomplete"),
            Parsed::Bad(why) => return (requests, why),
            Parsed::Complete(request, length) => {
                let last = request.last;
                requests.push(*request);
                if last {
                    return (requests, "closed");
                }
                bytes = &bytes[length..];
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next line, without its CRLF.
    fn line(&mut self) -> Strict<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let end = end.ok_or(Stop::More)?;
        match rest[end..] {
            [b'\r', b'\n', ..] => {}
            [b'\r'] => return Err(Stop::More),
            [b'\r', ..] => return Err(Stop::Bad("bare CR")),
            _ => return Err(Stop::Bad("bare LF")),
        }
        self.at += end + 2;
        Ok(&rest[..end])
    }

    fn take(&mut self, length: usize) -> Strict<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or(Stop::More)?;
        self.at += length;
        Ok(taken)
    }
}

fn request(reader: &mut Reader<'_>) -> Strict<Request> {
    let mut request = Request::default();
    let mut line = reader.line()?;
    while line.is_empty() {
        // RFC 9112 section 2.2 lets a server skip it.
        request.doubts.push("an empty line before the request");
        line = reader.line()?;
    }
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Stop::Bad("the request line has not three words"));
    };
    if !is_token(method) {
        return Err(Stop::Bad("the method is no token"));
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) || target.contains(&b'#') {
        return Err(Stop::Bad("the target has bytes that none may have"));
    }
    let minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        _ => return Err(Stop::Bad("the version is not HTTP/1.x")),
    };
    request.method = text(method);
    request.target = text(target);
    request.fields = fields(reader)?;
    let hosts = request.values("host").len();
    if hosts > 1 || hosts == 0 && minor == 1 {
        return Err(Stop::Bad("not exactly one Host"));
    }
    let chunked = match request.values("transfer-encoding")[..] {
        [] => false,
        [coding] if minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Stop::Bad("a transfer coding that is not one \"chunked\"")),
    };
    let mut lengths = request.values("content-length").into_iter().map(length);
    let length = lengths.next().transpose()?;
    let again: Vec<_> = lengths.collect::<Strict<_>>()?;
    if again.iter().any(|again| Some(*again) != length) {
        return Err(Stop::Bad("lengths that differ"));
    }
    if !again.is_empty() {
        // RFC 9110 section 8.6 lets a recipient take them for one. A recipient that does not sees another end.
        request.doubts.push("a length said twice");
    }
    let options = request.values("connection").join(&b","[..]);
    let option = |name: &str| {
        let mut all = options.split(|byte| *byte == b',');
        all.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    request.last = option("close") || minor == 0 && !option("keep-alive");
    request.last |= !again.is_empty() || chunked && length.is_some();
    // What follows is meant for the tunnel, which is never there (RFC 9110 section 9.3.6).
    request.last |= request.method == "CONNECT";
    if chunked {
        if length.is_some() {
            request.doubts.push("a length beside chunked");
        }
        (request.body, request.trailers) = chunks(reader)?;
    } else if let Some(length) = length {
        request.body = reader.take(length)?.to_vec();
    }
    Ok(request)
}

fn length(digits: &[u8]) -> Strict<usize> {
    let decimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let parsed = text(digits).parse().ok().filter(|_| decimal);
    parsed.ok_or(Stop::Bad("not one decimal length"))
}

fn fields(reader: &mut Reader<'_>) -> Strict<Vec<Field>> {
    let mut fields = Vec::new();
    loop {
        let line = reader.line()?;
        if line.is_empty() {
            return Ok(fields);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(Stop::Bad("a line without a colon"))?);
        if !is_token(name) {
            return Err(Stop::Bad("a field name that is no token"));
        }
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let value = &value[1..];
        if !value.iter().all(|b| blank(b) || *b > b' ' && *b != 0x7F) {
            return Err(Stop::Bad("a control character in a field value"));
        }
        let start = value.iter().position(|byte| !blank(byte)).unwrap_or(0);
        let end = value
            .iter()
            .rposition(|b| !blank(b))
            .map_or(start, |at| at + 1);
        fields.push((name.to_vec(), value[start..end].to_vec()));
    }
}

fn chunks(reader: &mut Reader<'_>) -> Strict<(Vec<u8>, Vec<Field>)> {
    let mut body = Vec::new();
    loop {
        let line = reader.line()?;
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let (size, extension) = line.split_at(digits);
        let visible = |byte: &u8| *byte >= b' ' && *byte != 0x7F || *byte == b'\t';
        let follows = extension.trim_ascii_start();
        let extended = follows.starts_with(b";") && follows.iter().all(visible);
        // Some pad the size. Every reader that accepts that reads the same size.
        let padded = extension.iter().all(|byte| b" \t".contains(byte));
        if !(1..=15).contains(&digits) || !(padded || extended) {
            return Err(Stop::Bad("a malformed chunk size"));
        }
        let size = usize::from_str_radix(&text(size), 16).expect("at most 15 hexadecimal digits");
        if size == 0 {
            return Ok((body, fields(reader)?));
        }
        body.extend_from_slice(reader.take(size)?);
        if reader.take(2)? != b"\r\n" {
            return Err(Stop::Bad("a chunk that does not end where it says"));
        }
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(in_token)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
