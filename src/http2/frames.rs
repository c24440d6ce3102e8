//! What the bytes of an HTTP/2 connection tell before the library does: how many frames have come, and
//! where heads begin and end.
//!
//! The library tells of a head when it is whole. Until then it waits, and with it the connection,
//! on which nothing else may come in between (RFC 9113 section 6.10). Only frame headers are
//! looked at, nine bytes each.

/// The bytes before the first frame (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What has come on a connection. The numbers wrap: compare with what they were.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrived {
    /// Bytes, of whatever.
    pub bytes: usize,
    /// Frames that have begun, of whatever kind.
    pub frames: usize,
    /// The first frame is whole. It holds the settings of the other side (RFC 9113 section 3.4).
    pub has_settings: bool,
}

/// Follows the frames on one connection.
#[derive(Debug)]
pub struct Frames {
    /// The header of the frame that comes next, as far as it has come.
    header: [u8; HEADER_BYTES],
    filled: usize,
    /// How much of a payload is still to come.
    left: usize,
    /// Some of a head has come, and not all.
    open: bool,
    /// Its last frame is on the way.
    last: bool,
    /// Heads begun so far.
    begun: u64,
    goaway: bool,
    arrived: Arrived,
}

impl Frames {
    /// Those of a client, behind its preface.
    pub fn of_client() -> Self {
        Self {
            left: PREFACE_BYTES,
            ..Self::of_server()
        }
    }

    /// Those of a server, from the first byte on.
    pub fn of_server() -> Self {
        Self {
            header: [0; HEADER_BYTES],
            filled: 0,
            left: 0,
            open: false,
            last: false,
            begun: 0,
            goaway: false,
            arrived: Arrived::default(),
        }
    }

    /// What has come.
    pub fn arrived(&self) -> Arrived {
        self.arrived
    }

    /// Whether the other end has said which streams it may have acted on (RFC 9113 section 6.8).
    pub fn has_goaway(&self) -> bool {
        self.goaway
    }

    /// Which head has come in part, counted from 1.
    pub fn unfinished_head(&self) -> Option<u64> {
        self.open.then_some(self.begun)
    }

    /// Follows `bytes`, the next ones that have come.
    pub fn scan(&mut self, mut bytes: &[u8]) {
        self.arrived.bytes = self.arrived.bytes.wrapping_add(bytes.len());
        loop {
            if self.left > bytes.len() {
                self.left -= bytes.len();
                return;
            }
            bytes = &bytes[self.left..];
            self.left = 0;
            self.arrived.has_settings |= self.arrived.frames > 0;
            if self.last {
                (self.open, self.last) = (false, false);
            }
            let taken = bytes.len().min(HEADER_BYTES - self.filled);
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled < HEADER_BYTES {
                return;
            }
            self.filled = 0;
            self.frame_begins();
        }
    }

    fn frame_begins(&mut self) {
        self.arrived.frames = self.arrived.frames.wrapping_add(1);
        let [a, b, c, kind, flags, ..] = self.header;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            HEADERS => {
                self.open = true;
                self.begun += 1;
            }
            CONTINUATION => {}
            GOAWAY => {
                self.goaway = true;
                return;
            }
            // In the middle of a head it is an error: the library says so.
            _ => return,
        }
        self.last = flags & END_HEADERS != 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: u8 = 4;
    const DATA: u8 = 0;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let length_bytes = &u32::try_from(length).unwrap().to_be_bytes()[1..];
        let stream = [0, 0, 0, 1];
        // A payload that looks like the header of a frame.
        let payload = [0, 0, 1, HEADERS].into_iter().cycle().take(length);
        let header = [length_bytes, &[kind, flags], &stream].concat();
        header.into_iter().chain(payload).collect()
    }

    #[test]
    fn settings_have_come_when_the_first_frame_is_whole() {
        for (mut frames, before, length) in [
            (Frames::of_server(), &[][..], 0),
            (Frames::of_server(), &[], 12),
            (Frames::of_client(), PREFACE, 6),
        ] {
            let bytes = [before, &frame(SETTINGS, 0, length)].concat();
            let (last, first) = bytes.split_last().unwrap();
            for byte in first {
                frames.scan(&[*byte]);
                assert!(!frames.arrived().has_settings);
            }
            frames.scan(&[*last]);
            assert!(frames.arrived().has_settings);
        }
    }

    /// Which head was open in part behind each piece.
    fn followed(bytes: &[u8], size: usize) -> Vec<Option<u64>> {
        let mut frames = Frames::of_client();
        let pieces = bytes.chunks(size);
        pieces
            .map(|piece| {
                frames.scan(piece);
                frames.unfinished_head()
            })
            .collect()
    }

    #[test]
    fn a_head_is_open_from_the_header_of_its_first_frame_to_its_last_byte() {
        for (frames, heads) in [
            (vec![(SETTINGS, 0, 12), (HEADERS, END_HEADERS, 70)], 1),
            (vec![(HEADERS, 0, 300), (CONTINUATION, END_HEADERS, 5)], 1),
            (
                vec![
                    (HEADERS, 0, 0),
                    (CONTINUATION, 0, 3),
                    (CONTINUATION, END_HEADERS, 0),
                ],
                1,
            ),
            (vec![(HEADERS, END_HEADERS | 1, 9), (HEADERS, 4, 9)], 2),
        ] {
            let mut bytes = PREFACE.to_vec();
            let mut expected = vec![None; bytes.len()];
            let mut head = 0;
            let mut open = None;
            for (kind, flags, length) in frames {
                bytes.extend(frame(kind, flags, length));
                expected.extend(vec![open; HEADER_BYTES - 1]);
                if kind == HEADERS {
                    head += 1;
                    open = Some(head);
                }
                expected.extend(vec![open; length + 1]);
                if flags & END_HEADERS != 0 {
                    open = None;
                    *expected.last_mut().unwrap() = None;
                }
            }
            bytes.extend(frame(DATA, END_HEADERS, 70_000));
            expected.extend(vec![None; HEADER_BYTES + 70_000]);
            assert_eq!(head, heads);
            for size in [1, 2, 9, 24, 100, bytes.len()] {
                let behind: Vec<_> = expected.chunks(size).map(|c| *c.last().unwrap()).collect();
                assert_eq!(followed(&bytes, size), behind, "in pieces of {size}");
            }
        }
    }
}
