//! The parser of typed input: it finds escapes, which are a prefix followed by a key for moat.
//!
//! The parser does no I/O. The result does not depend on how the bytes are split. Every byte is passed on, except the
//! bytes of an escape that the parser recognized.

use std::time::Duration;

/// A piece of parsed input: bytes, or a command of an escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyInput {
    /// Bytes for the workload.
    Bytes(Vec<u8>),
    Stop,
    Kill,
    Help,
}

/// The key that starts an escape when it is pressed with Ctrl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EscapePrefix(u8);

impl Default for EscapePrefix {
    fn default() -> EscapePrefix {
        EscapePrefix(b'/')
    }
}

impl EscapePrefix {
    /// Parses `ctrl-X`. Returns `None` if there is no such key, or if a terminal sends no distinct byte for it.
    pub(crate) fn parse(text: &str) -> Option<EscapePrefix> {
        let [key] = text.strip_prefix("ctrl-")?.as_bytes() else {
            return None;
        };
        // The workload needs Ctrl-C, Ctrl-D and Ctrl-Z; Ctrl-M, Ctrl-J and Ctrl-I are the bytes of return and tab.
        let taken = matches!(key, b'c' | b'd' | b'z' | b'm' | b'j' | b'i' | b'[');
        let good =
            key.is_ascii_lowercase() || matches!(key, b'/' | b']' | b'\\' | b'^' | b'_' | b'@');
        (good && !taken).then_some(EscapePrefix(*key))
    }

    /// Returns the byte that a terminal sends for the key; Ctrl-/ sends the byte of Ctrl-_.
    fn byte(self) -> u8 {
        match self.0 {
            b'/' => 0x1f,
            key => key & 0x1f,
        }
    }
}

/// The maximum length of a key's sequence, in bytes; a longer sequence is not a key.
const MAX_SEQUENCE_BYTES: usize = 48;

/// The timeout after a sequence that may be a whole key, such as Escape: shorter than a person notices.
const KEY_TIMEOUT: Duration = Duration::from_millis(20);
/// The timeout after the start of a sequence that is not a key by itself: long enough for a slow connection.
const SEQUENCE_TIMEOUT: Duration = Duration::from_millis(500);

/// The sequences around a bracketed paste.
const PASTE_START: [u8; 6] = *b"\x1b[200~";
const PASTE_END: [u8; 6] = *b"\x1b[201~";

/// A parser that finds escapes in the input.
#[derive(Debug)]
pub(crate) struct EscapeParser {
    prefix: Option<EscapePrefix>,
    /// The bytes of a sequence that is not complete yet.
    sequence: Vec<u8>,
    /// The bytes of the prefix, and the bytes after it that are not a key press.
    pending: Vec<u8>,
    /// The last six bytes, in which the parser finds paste marks even if they were split or partly passed on.
    recent: [u8; 6],
    in_paste: bool,
}

/// The meaning of one sequence.
#[derive(Clone, Copy, PartialEq)]
enum KeyMeaning {
    Prefix,
    /// The release or repetition of a key, or a modifier key.
    Nothing,
    Stop,
    Kill,
    Help,
    Other,
}

impl EscapeParser {
    /// Returns a parser; without a prefix, it passes all bytes to the workload.
    pub(crate) fn new(prefix: Option<EscapePrefix>) -> EscapeParser {
        EscapeParser {
            prefix,
            sequence: Vec::new(),
            pending: Vec::new(),
            recent: [0; 6],
            in_paste: false,
        }
    }

    /// Parses typed bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<KeyInput> {
        let mut out = Vec::new();
        for byte in bytes {
            self.byte(*byte, &mut out);
        }
        out
    }

    /// Returns the timeout for the rest of an incomplete sequence, or `None` if no sequence is incomplete.
    pub(crate) fn pending_timeout(&self) -> Option<Duration> {
        match self.sequence[..] {
            [] => None,
            [0x1b] | [0x1b, b'['] => Some(KEY_TIMEOUT),
            _ => Some(SEQUENCE_TIMEOUT),
        }
    }

    /// Ends an incomplete sequence after its timeout and passes on its bytes.
    pub(crate) fn flush_pending(&mut self) -> Vec<KeyInput> {
        let mut out = Vec::new();
        let held = std::mem::take(&mut self.sequence);
        if !held.is_empty() {
            self.key(KeyMeaning::Other, held, &mut out);
        }
        out
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<KeyInput>) {
        let Some(prefix) = self.prefix else {
            return pass(out, &[byte]);
        };
        self.recent.rotate_left(1);
        self.recent[5] = byte;
        match self.recent {
            PASTE_START => self.in_paste = true,
            PASTE_END => self.in_paste = false,
            _ => {}
        }
        self.sequence.push(byte);
        match self.sequence[..] {
            [0x1b] | [0x1b, b'['] => {}
            // The Escape key, followed by another sequence.
            [0x1b, 0x1b] => {
                self.sequence.pop();
                self.key(KeyMeaning::Other, vec![0x1b], out);
            }
            [0x1b, b'[', .., last]
                if is_parameter(last) && self.sequence.len() < MAX_SEQUENCE_BYTES => {}
            [0x1b, b'[', ..] => {
                let sequence = std::mem::take(&mut self.sequence);
                let key = self.sequence_meaning(&sequence, prefix);
                self.key(key, sequence, out);
            }
            _ => {
                let sequence = std::mem::take(&mut self.sequence);
                let key = match sequence[..] {
                    _ if self.in_paste => KeyMeaning::Other,
                    [byte] if byte == prefix.byte() => KeyMeaning::Prefix,
                    [b'k'] => KeyMeaning::Stop,
                    [b'K'] => KeyMeaning::Kill,
                    [b'?'] => KeyMeaning::Help,
                    _ => KeyMeaning::Other,
                };
                self.key(key, sequence, out);
            }
        }
    }

    /// Returns the meaning of a control sequence.
    fn sequence_meaning(&self, sequence: &[u8], prefix: EscapePrefix) -> KeyMeaning {
        let key = match sequence {
            _ if self.in_paste => None,
            [0x1b, b'[', parameters @ .., b'u'] => of_kitty(parameters, prefix),
            [0x1b, b'[', b'2', b'7', b';', parameters @ .., b'~'] => of_xterm(parameters, prefix),
            _ => None,
        };
        key.unwrap_or(KeyMeaning::Other)
    }

    fn key(&mut self, key: KeyMeaning, bytes: Vec<u8>, out: &mut Vec<KeyInput>) {
        if self.pending.is_empty() {
            match key {
                KeyMeaning::Prefix => self.pending = bytes,
                _ => pass(out, &bytes),
            }
            return;
        }
        match key {
            KeyMeaning::Nothing => self.pending.extend(bytes),
            KeyMeaning::Prefix => {
                self.pending.clear();
                pass(out, &bytes);
            }
            KeyMeaning::Stop | KeyMeaning::Kill | KeyMeaning::Help => {
                self.pending.clear();
                out.push(match key {
                    KeyMeaning::Stop => KeyInput::Stop,
                    KeyMeaning::Kill => KeyInput::Kill,
                    _ => KeyInput::Help,
                });
            }
            KeyMeaning::Other => {
                pass(out, &std::mem::take(&mut self.pending));
                pass(out, &bytes);
            }
        }
    }
}

fn pass(out: &mut Vec<KeyInput>, bytes: &[u8]) {
    match out.last_mut() {
        Some(KeyInput::Bytes(earlier)) => earlier.extend_from_slice(bytes),
        _ => out.push(KeyInput::Bytes(bytes.to_vec())),
    }
}

fn is_parameter(byte: u8) -> bool {
    matches!(byte, b'0'..=b'?')
}

/// Parses a key of the kitty keyboard protocol: `CODE[:SHIFTED[:BASE]][;MODIFIERS[:EVENT][;TEXT]]u`.
/// (sw.kovidgoyal.net/kitty/keyboard-protocol)
fn of_kitty(parameters: &[u8], prefix: EscapePrefix) -> Option<KeyMeaning> {
    let text = std::str::from_utf8(parameters).ok()?;
    let mut fields = text.split(';');
    let number = |text: Option<&str>| match text {
        None | Some("") => Some(1),
        Some(text) => text.parse::<u32>().ok(),
    };
    let mut codes = fields.next()?.split(':');
    let (code, shifted) = (number(codes.next())?, codes.next());
    let mut second = fields.next().unwrap_or_default().split(':');
    let (modifiers, event) = (number(second.next())?, number(second.next())?);
    // Caps lock and num lock do not change the meaning.
    let held = modifiers.checked_sub(1)? & 0b11_1111;
    let is_modifier = (57_358..=57_360).contains(&code) || (57_441..=57_454).contains(&code);
    if is_modifier || event == 3 {
        return Some(KeyMeaning::Nothing);
    }
    // If the keyboard layout needs Shift for the character, Shift is not a modifier of the key.
    let (code, held) = match shifted.and_then(|text| text.parse().ok()) {
        Some(shifted) if held & SHIFT != 0 => (shifted, held & !SHIFT),
        _ => (code, held),
    };
    match pressed(code, held, prefix)? {
        KeyMeaning::Prefix if event == 2 => Some(KeyMeaning::Nothing),
        key => Some(key),
    }
}

/// Parses a key that xterm sends in the mode modifyOtherKeys: `CSI 27;MODIFIERS;CODE~`.
/// (invisible-island.net/xterm/modified-keys.html)
fn of_xterm(parameters: &[u8], prefix: EscapePrefix) -> Option<KeyMeaning> {
    let text = std::str::from_utf8(parameters).ok()?;
    let (modifiers, code) = text.split_once(';')?;
    let held = modifiers.parse::<u32>().ok()?.checked_sub(1)?;
    pressed(code.parse().ok()?, held, prefix)
}

/// The bits of the modifiers in both protocols.
const SHIFT: u32 = 0b1;
const CTRL: u32 = 0b100;

/// Returns the meaning of a pressed key.
fn pressed(code: u32, held: u32, prefix: EscapePrefix) -> Option<KeyMeaning> {
    if code == u32::from(prefix.0) && held == CTRL {
        return Some(KeyMeaning::Prefix);
    }
    Some(match (char::from_u32(code)?, held) {
        ('k', 0) => KeyMeaning::Stop,
        ('k', held) | ('K', held) if held == SHIFT || held == 0 => KeyMeaning::Kill,
        ('?', held) if held & CTRL == 0 => KeyMeaning::Help,
        ('/', SHIFT) => KeyMeaning::Help,
        _ => KeyMeaning::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Vec<KeyInput> {
        let mut escapes = EscapeParser::new(Some(EscapePrefix::default()));
        let mut out = escapes.feed(bytes);
        for typed in escapes.flush_pending() {
            match typed {
                KeyInput::Bytes(bytes) => pass(&mut out, &bytes),
                command => out.push(command),
            }
        }
        out
    }

    fn bytes(text: &[u8]) -> KeyInput {
        KeyInput::Bytes(text.to_vec())
    }

    #[test]
    fn what_is_no_escape_passes() {
        let utf8 = "gr\u{fc}\u{df}e \u{1f600}".as_bytes();
        for input in [
            &b"plain text\r"[..],
            b"\x03\x04\x1a\x7f",
            utf8,
            b"\xff\xfe\x80",
            b"\x1b[A\x1b[1;5C\x1bOP\x1bx",
            b"\x1b[<35;10;20M\x1b[?1;2c",
            b"\x1b[107u\x1b[47;1u",
            b"\x1b[47;5",
            b"\x1b",
            b"\x1b\x1b\x1b[",
        ] {
            assert_eq!(typed(input), [bytes(input)], "{input:?}");
        }
    }

    #[test]
    fn the_escape_is_obeyed_in_both_forms() {
        for prefix in [
            &b"\x1f"[..],
            b"\x1b[47;5u",
            b"\x1b[47;5:1u",
            b"\x1b[47;69u",
            b"\x1b[47:63;5:1u\x1b[47;5:2u\x1b[47;5:3u\x1b[57442;1:3u",
        ] {
            for (key, expected) in [
                (&b"k"[..], KeyInput::Stop),
                (b"K", KeyInput::Kill),
                (b"?", KeyInput::Help),
                (b"\x1b[107u", KeyInput::Stop),
                (b"\x1b[107;1:1u", KeyInput::Stop),
                (b"\x1b[57441;2:1u\x1b[107;2u", KeyInput::Kill),
                (b"\x1b[47:63;2u", KeyInput::Help),
            ] {
                let input = [b"ab", prefix, key, b"c"].concat();
                let expected = [bytes(b"ab"), expected, bytes(b"c")];
                assert_eq!(typed(&input), expected, "{input:?}");
            }
        }
    }

    #[test]
    fn the_prefix_twice_sends_it_and_before_another_key_it_passes() {
        assert_eq!(typed(b"\x1f\x1f"), [bytes(b"\x1f")]);
        assert_eq!(typed(b"\x1b[47;5u\x1b[47;5u"), [bytes(b"\x1b[47;5u")]);
        assert_eq!(typed(b"\x1fd"), [bytes(b"\x1fd")]);
        assert_eq!(typed(b"\x1f\x1b[A"), [bytes(b"\x1f\x1b[A")]);
        let held = b"\x1b[47;5u\x1b[47;5:3ud";
        assert_eq!(typed(held), [bytes(held)]);
    }

    #[test]
    fn in_a_paste_there_are_no_escapes() {
        let paste = b"\x1b[200~\x1fk\x1b[47;5uk\x1b[201~";
        assert_eq!(typed(paste), [bytes(paste)]);
        let after = [&paste[..], b"\x1fk"].concat();
        assert_eq!(typed(&after), [bytes(paste), KeyInput::Stop]);
    }

    /// A timeout inside any sequence loses no byte, and leaves no paste open.
    #[test]
    fn pauses_lose_nothing() {
        for at in 0..40 {
            let input = b"\x1b[200~abc\x1b[201~\x1b[A\x1b[47;5:1u\x1b[1;5C\x1b[201~\x1fk";
            let at = at.min(input.len() - 2);
            let mut escapes = EscapeParser::new(Some(EscapePrefix::default()));
            let mut out = escapes.feed(&input[..at]);
            out.extend(escapes.flush_pending());
            out.extend(escapes.feed(&input[at..]));
            assert_eq!(out.last(), Some(&KeyInput::Stop), "{at}: {out:?}");
            let passed: usize = out
                .iter()
                .map(|typed| match typed {
                    KeyInput::Bytes(bytes) => bytes.len(),
                    _ => 0,
                })
                .sum();
            assert_eq!(passed, input.len() - 2, "{at}: {out:?}");
        }
    }

    #[test]
    fn other_forms_of_the_escape() {
        for input in [
            &b"\x1b[27;5;47~k"[..],
            b"\x1b[55:47;6uk",
            b"\x1b[27;5;47~\x1b[107u",
        ] {
            assert_eq!(typed(input), [KeyInput::Stop], "{input:?}");
        }
        assert_eq!(typed(b"\x1b[27;5;46~k"), [bytes(b"\x1b[27;5;46~k")]);
    }

    #[test]
    fn another_prefix_or_none() {
        let mut escapes = EscapeParser::new(EscapePrefix::parse("ctrl-]"));
        assert_eq!(
            escapes.feed(b"\x1fk\x1dk"),
            [bytes(b"\x1fk"), KeyInput::Stop]
        );
        assert_eq!(
            EscapeParser::new(None).feed(b"\x1fk\x1b"),
            [bytes(b"\x1fk\x1b")]
        );
        for bad in [
            "",
            "ctrl-",
            "ctrl-c",
            "ctrl-ab",
            "x",
            "ctrl-[",
            "Ctrl-x",
            "ctrl-\u{e9}",
        ] {
            assert_eq!(EscapePrefix::parse(bad), None, "{bad}");
        }
    }

    /// Any split of any bytes gives the same result, which lacks only the bytes of recognized escapes.
    #[test]
    fn splits_do_not_matter() {
        let pieces: [&[u8]; 14] = [
            b"\x1f",
            b"k",
            b"K",
            b"?",
            b"\x1b",
            b"[",
            b"47;5u",
            b"\x1b[47;5u",
            b"\x1b[47;5:3u",
            b"\x1b[200~",
            b"\x1b[201~",
            b"x",
            b"\xe2\x82\xac",
            b"107u",
        ];
        let mut seed: u64 = 88_172_645_463_325_252;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).unwrap()
        };
        for _ in 0..20_000 {
            let count = random(12);
            let input: Vec<u8> = (0..count)
                .flat_map(|_| pieces[random(pieces.len())].to_vec())
                .collect();
            let mut escapes = EscapeParser::new(Some(EscapePrefix::default()));
            let mut split = Vec::new();
            let mut rest = &input[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + random(rest.len()));
                for typed in escapes.feed(piece) {
                    match typed {
                        KeyInput::Bytes(bytes) => pass(&mut split, &bytes),
                        command => split.push(command),
                    }
                }
                rest = after;
            }
            for typed in escapes.flush_pending() {
                match typed {
                    KeyInput::Bytes(bytes) => pass(&mut split, &bytes),
                    command => split.push(command),
                }
            }
            assert_eq!(split, typed(&input), "{input:?}");
            let obeyed = split
                .iter()
                .any(|typed| !matches!(typed, KeyInput::Bytes(_)));
            let passed: usize = split
                .iter()
                .map(|typed| match typed {
                    KeyInput::Bytes(bytes) => bytes.len(),
                    _ => 0,
                })
                .sum();
            let prefixes =
                input.contains(&0x1f) || input.windows(7).any(|part| part == b"\x1b[47;5u");
            assert!(obeyed || prefixes || passed == input.len(), "{input:?}");
        }
    }
}
