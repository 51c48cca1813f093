//! What a workload switches on in a terminal, as far as it went by, and how to switch it off again.
//!
//! Pure: bytes in, a sequence out. Sources: the control sequences of xterm (invisible-island.net/xterm),
//! and the kitty keyboard protocol, whose stack of flags each of the two screens has for itself.

use std::collections::BTreeSet;

/// Modes that are off in a sane terminal.
const OFF: [u16; 20] = [
    1, 6, 9, 66, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1036, 2004, 2026, 2031,
    2048, 5, 45,
];

/// Modes that are on in a sane terminal: the cursor is seen, and lines wrap.
const ON: [u16; 2] = [25, 7];

/// The three ways to the alternate screen.
const SCREENS: [u16; 3] = [47, 1047, 1049];

/// More levels of keyboard flags than any terminal keeps.
const DEEPEST: u32 = 64;

/// A longer sequence sets no mode.
const LONGEST: usize = 64;

/// Follows a workload's output.
#[derive(Debug, Default)]
pub(crate) struct Modes {
    sequence: Vec<u8>,
    /// Of [`OFF`], those that are on; of [`ON`], those that are off.
    changed: BTreeSet<u16>,
    /// Which of [`SCREENS`] is on.
    alternate: Option<u16>,
    /// The depths of the stacks of keyboard flags, on the main and on the alternate screen.
    keyboard: [u32; 2],
    /// Whether flags were set without a push.
    keyboard_set: [bool; 2],
    region: bool,
    keypad: bool,
    other_keys: bool,
    cursor_shape: bool,
    charset: bool,
    insert: bool,
}

impl Modes {
    /// Takes note of what went to the terminal.
    pub(crate) fn watch(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == 0x1b {
                self.sequence.clear();
                self.sequence.push(*byte);
            } else if !self.sequence.is_empty() {
                self.sequence.push(*byte);
                if is_whole(&self.sequence) || self.sequence.len() > LONGEST {
                    let sequence = std::mem::take(&mut self.sequence);
                    self.obey(&sequence);
                }
            }
        }
    }

    fn obey(&mut self, sequence: &[u8]) {
        match sequence {
            // A reset of everything, hard or soft.
            b"\x1bc" => *self = Modes::default(),
            b"\x1b[!p" => {
                let (alternate, keyboard) = (self.alternate, self.keyboard);
                *self = Modes {
                    alternate,
                    keyboard,
                    ..Modes::default()
                };
            }
            b"\x1b=" => self.keypad = true,
            b"\x1b>" => self.keypad = false,
            b"\x1b(B" => self.charset = false,
            [0x1b, b'(', _] => self.charset = true,
            b"\x1b[4h" => self.insert = true,
            b"\x1b[4l" => self.insert = false,
            [0x1b, b'[', b'?', modes @ .., b'h'] => self.set(modes, true),
            [0x1b, b'[', b'?', modes @ .., b'l'] => self.set(modes, false),
            [0x1b, b'[', b'>', ..] if sequence.ends_with(b"u") => {
                let depth = self.depth();
                *depth = (*depth + 1).min(DEEPEST);
            }
            [0x1b, b'[', b'<', count @ .., b'u'] => {
                let count = numbers(count).next().unwrap_or(1);
                let depth = self.depth();
                *depth = depth.saturating_sub(count.into());
            }
            [0x1b, b'[', b'=', ..] if sequence.ends_with(b"u") => {
                let screen = usize::from(self.alternate.is_some());
                self.keyboard_set[screen] = true;
            }
            [0x1b, b'[', b'>', b'4', rest @ .., b'm'] => {
                self.other_keys = numbers(rest).any(|number| number > 0);
            }
            [0x1b, b'[', region @ .., b'r'] if !region.starts_with(b"?") => {
                self.region = !region.is_empty();
            }
            [0x1b, b'[', shape @ .., b' ', b'q'] => {
                self.cursor_shape = numbers(shape).any(|number| number > 0);
            }
            _ => {}
        }
    }

    fn depth(&mut self) -> &mut u32 {
        &mut self.keyboard[usize::from(self.alternate.is_some())]
    }

    fn set(&mut self, modes: &[u8], on: bool) {
        for mode in numbers(modes) {
            if SCREENS.contains(&mode) {
                self.alternate = on.then_some(mode);
            } else if ON.contains(&mode) == on {
                self.changed.remove(&mode);
            } else if ON.contains(&mode) || OFF.contains(&mode) {
                self.changed.insert(mode);
            }
        }
    }

    /// What brings the terminal back; empty if nothing was left on.
    pub(crate) fn restoring(&self) -> String {
        let mut text = String::new();
        for mode in &self.changed {
            let letter = if ON.contains(mode) { 'h' } else { 'l' };
            text.push_str(&format!("\x1b[?{mode}{letter}"));
        }
        self.restore_keyboard(&mut text, 1);
        if self.region {
            // This also moves the cursor, which is to stay.
            text.push_str("\x1b7\x1b[r\x1b8");
        }
        if let Some(mode) = self.alternate {
            text.push_str(&format!("\x1b[?{mode}l"));
        }
        self.restore_keyboard(&mut text, 0);
        for (on, off) in [
            (self.keypad, "\x1b>"),
            (self.other_keys, "\x1b[>4;0m"),
            (self.cursor_shape, "\x1b[0 q"),
            (self.charset, "\x1b(B"),
            (self.insert, "\x1b[4l"),
        ] {
            if on {
                text.push_str(off);
            }
        }
        text
    }

    /// What switches on again what is on.
    pub(crate) fn setting(&self) -> String {
        let mut text = String::new();
        for _ in 0..self.keyboard[0] {
            text.push_str("\x1b[>1u");
        }
        if let Some(mode) = self.alternate {
            text.push_str(&format!("\x1b[?{mode}h"));
        }
        for _ in 0..self.keyboard[1] {
            text.push_str("\x1b[>1u");
        }
        for mode in &self.changed {
            let letter = if ON.contains(mode) { 'l' } else { 'h' };
            text.push_str(&format!("\x1b[?{mode}{letter}"));
        }
        if self.keypad {
            text.push_str("\x1b=");
        }
        text
    }

    fn restore_keyboard(&self, text: &mut String, screen: usize) {
        if self.keyboard[screen] > 0 {
            text.push_str(&format!("\x1b[<{}u", self.keyboard[screen]));
        }
        if self.keyboard_set[screen] {
            text.push_str("\x1b[=0u");
        }
    }
}

/// Whether a sequence that began with an escape has come to its end.
fn is_whole(sequence: &[u8]) -> bool {
    match sequence {
        [0x1b] | [0x1b, b'[' | b'('] => false,
        [0x1b, b'[', .., last] => matches!(last, 0x40..=0x7e),
        _ => true,
    }
}

/// The numbers between semicolons.
fn numbers(parameters: &[u8]) -> impl Iterator<Item = u16> {
    let text = std::str::from_utf8(parameters).unwrap_or_default();
    text.split(';').filter_map(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_on(output: &[u8]) -> String {
        let mut whole = Modes::default();
        whole.watch(output);
        // Byte by byte it is the same.
        let mut split = Modes::default();
        for byte in output {
            split.watch(&[*byte]);
        }
        assert_eq!(whole.restoring(), split.restoring());
        whole.restoring()
    }

    #[test]
    fn what_was_switched_off_again_needs_nothing() {
        for output in [
            &b"plain\r\n\x1b[1;31mred\x1b[0m\x1b[2J\x1b[H"[..],
            b"\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l",
            b"\x1b[?1000;1006h\x1b[?1006;1000l",
            b"\x1b[>1u\x1b[<u\x1b[>3u\x1b[>1u\x1b[<2u",
            b"\x1b[3;20r\x1b[r\x1b=\x1b>\x1b(0\x1b(B",
            b"\x1b[?1049h\x1b[?2004h\x1bc",
            b"\x1b]0;title\x07\x1bP+q\x1b\\",
        ] {
            assert_eq!(left_on(output), "", "{output:?}");
        }
    }

    #[test]
    fn what_was_left_on_is_switched_off() {
        for (output, expected) in [
            (&b"\x1b[?1049h"[..], "\x1b[?1049l"),
            (b"\x1b[?25l", "\x1b[?25h"),
            (b"\x1b[?7l", "\x1b[?7h"),
            (b"\x1b[?1002;1006h", "\x1b[?1002l\x1b[?1006l"),
            (b"\x1b[?2004h\x1b[?1h\x1b=", "\x1b[?1l\x1b[?2004l\x1b>"),
            (b"\x1b[>1u\x1b[>3u", "\x1b[<2u"),
            (b"\x1b[=5u", "\x1b[=0u"),
            (b"\x1b[2;10r", "\x1b7\x1b[r\x1b8"),
            (b"\x1b[>4;2m", "\x1b[>4;0m"),
            (b"\x1b[5 q", "\x1b[0 q"),
            // Each screen has a keyboard stack of its own.
            (
                b"\x1b[>1u\x1b[?1049h\x1b[>2u",
                "\x1b[<1u\x1b[?1049l\x1b[<1u",
            ),
        ] {
            assert_eq!(left_on(output), expected, "{output:?}");
        }
    }
}
