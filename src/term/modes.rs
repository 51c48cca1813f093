//! The modes that a workload switches on in a terminal, and the sequences that switch them off again.
//!
//! This module does no I/O. Sources: the control sequences of xterm (invisible-island.net/xterm), and the kitty
//! keyboard protocol, in which each of the two screens has its own stack of flags.

/// Modes that are off by default.
const DEFAULT_OFF_MODES: [u16; 20] = [
    1, 6, 9, 66, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1036, 2004, 2026, 2031,
    2048, 5, 45,
];

/// Modes that are on by default: the cursor is visible, and lines wrap.
const DEFAULT_ON_MODES: [u16; 2] = [25, 7];

/// The three modes that select the alternate screen.
const ALTERNATE_SCREENS: [u16; 3] = [47, 1047, 1049];

/// The maximum depth of the stack of keyboard flags; no terminal keeps more.
const MAX_KEYBOARD_LEVELS: usize = 64;

/// The maximum length of a sequence that sets a mode, in bytes.
const MAX_SEQUENCE_BYTES: usize = 64;

/// The modes that a workload's output has set.
#[derive(Debug, Default)]
pub(crate) struct TerminalModes {
    sequence: Vec<u8>,
    /// The modes of [`OFF`] that are on, and the modes of [`ON`] that are off.
    changed: Vec<u16>,
    /// The mode of [`SCREENS`] that is on.
    alternate: Option<u16>,
    /// The keyboard flags of the main and of the alternate screen.
    keyboard: [Keyboard; 2],
    /// The parameters of the scroll region.
    region: Vec<u8>,
    /// The parameters of modifyOtherKeys.
    other_keys: Vec<u8>,
    /// The parameters of the cursor shape.
    cursor_shape: Vec<u8>,
    keypad: bool,
    charset: bool,
    shifted_out: bool,
    attributes: bool,
    insert: bool,
}

/// The flags of the kitty keyboard protocol: the base flags and the stack above them.
#[derive(Clone, Debug, Default)]
struct Keyboard {
    bottom: u16,
    stack: Vec<u16>,
}

impl Keyboard {
    fn push(&mut self, flags: u16) {
        if self.stack.len() < MAX_KEYBOARD_LEVELS {
            self.stack.push(flags);
        }
    }

    fn pop(&mut self, count: u16) {
        let left = self.stack.len().saturating_sub(count.into());
        self.stack.truncate(left);
    }

    /// Changes the current flags. `how`: 1 replaces them, 2 adds `flags`, 3 removes `flags`.
    fn set(&mut self, flags: u16, how: u16) {
        let now = self.stack.last_mut().unwrap_or(&mut self.bottom);
        *now = match how {
            2 => *now | flags,
            3 => *now & !flags,
            _ => flags,
        };
    }

    fn reset_sequence(&self) -> String {
        let mut text = String::new();
        if !self.stack.is_empty() {
            text.push_str(&format!("\x1b[<{}u", self.stack.len()));
        }
        if self.bottom != 0 {
            text.push_str("\x1b[=0u");
        }
        text
    }

    fn set_sequence(&self) -> String {
        let mut text = String::new();
        if self.bottom != 0 {
            text.push_str(&format!("\x1b[={}u", self.bottom));
        }
        for flags in &self.stack {
            text.push_str(&format!("\x1b[>{flags}u"));
        }
        text
    }
}

impl TerminalModes {
    /// Records the modes that `bytes`, which went to the terminal, have set.
    pub(crate) fn watch(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == 0x1b {
                self.sequence.clear();
                self.sequence.push(*byte);
            } else if !self.sequence.is_empty() {
                self.sequence.push(*byte);
                if is_whole(&self.sequence) || self.sequence.len() > MAX_SEQUENCE_BYTES {
                    let sequence = std::mem::take(&mut self.sequence);
                    self.apply(&sequence);
                }
            } else if matches!(byte, 0x0e | 0x0f) {
                self.shifted_out = *byte == 0x0e;
            }
        }
    }

    fn apply(&mut self, sequence: &[u8]) {
        match sequence {
            // The hard and the soft reset.
            b"\x1bc" => *self = TerminalModes::default(),
            b"\x1b[!p" => {
                let (alternate, keyboard) = (self.alternate, std::mem::take(&mut self.keyboard));
                *self = TerminalModes {
                    alternate,
                    keyboard,
                    ..TerminalModes::default()
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
            [0x1b, b'[', b'>', flags @ .., b'u'] => {
                let flags = numbers(flags).next().unwrap_or(0);
                self.keyboard().push(flags);
            }
            [0x1b, b'[', b'<', count @ .., b'u'] => {
                let count = numbers(count).next().unwrap_or(1);
                self.keyboard().pop(count);
            }
            [0x1b, b'[', b'=', flags @ .., b'u'] => {
                let mut numbers = numbers(flags);
                let (flags, how) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1));
                self.keyboard().set(flags, how);
            }
            [0x1b, b'[', b'>', b'4', rest @ .., b'm'] => self.other_keys = unless_zero(rest),
            [0x1b, b'[', region @ .., b'r'] if !region.starts_with(b"?") => {
                self.region = region.to_vec();
            }
            [0x1b, b'[', shape @ .., b' ', b'q'] => self.cursor_shape = unless_zero(shape),
            [0x1b, b'[', colours @ .., b'm'] if colours.iter().all(is_number) => {
                // The last parameter decides: 0 switches off all attributes before it.
                let last = colours.rsplit(|byte| *byte == b';').next();
                self.attributes = last.is_some_and(|last| last.iter().any(|digit| *digit != b'0'));
            }
            _ => {}
        }
    }

    /// Returns the keyboard flags of the visible screen.
    fn keyboard(&mut self) -> &mut Keyboard {
        &mut self.keyboard[usize::from(self.alternate.is_some())]
    }

    fn set(&mut self, modes: &[u8], on: bool) {
        for mode in numbers(modes) {
            if ALTERNATE_SCREENS.contains(&mode) {
                self.alternate = on.then_some(mode);
            } else if DEFAULT_ON_MODES.contains(&mode) == on {
                self.changed.retain(|changed| *changed != mode);
            } else if (DEFAULT_ON_MODES.contains(&mode) || DEFAULT_OFF_MODES.contains(&mode))
                && !self.changed.contains(&mode)
            {
                self.changed.push(mode);
                self.changed.sort_unstable();
            }
        }
    }

    /// Returns the sequence that restores the defaults; empty if no mode was changed.
    pub(crate) fn reset_sequence(&self) -> String {
        let mut text = String::new();
        for mode in &self.changed {
            let letter = if DEFAULT_ON_MODES.contains(mode) {
                'h'
            } else {
                'l'
            };
            text.push_str(&format!("\x1b[?{mode}{letter}"));
        }
        text.push_str(&self.keyboard[1].reset_sequence());
        if !self.region.is_empty() {
            // The reset of the region moves the cursor, so its position is saved and restored.
            text.push_str("\x1b7\x1b[r\x1b8");
        }
        if let Some(mode) = self.alternate {
            text.push_str(&format!("\x1b[?{mode}l"));
        }
        text.push_str(&self.keyboard[0].reset_sequence());
        for (on, off) in [
            (self.keypad, "\x1b>"),
            (!self.other_keys.is_empty(), "\x1b[>4;0m"),
            (!self.cursor_shape.is_empty(), "\x1b[0 q"),
            (self.charset, "\x1b(B"),
            (self.shifted_out, "\x0f"),
            (self.attributes, "\x1b[0m"),
            (self.insert, "\x1b[4l"),
        ] {
            if on {
                text.push_str(off);
            }
        }
        text
    }

    /// Returns the sequence that sets the current modes again.
    pub(crate) fn set_sequence(&self) -> String {
        let mut text = self.keyboard[0].set_sequence();
        if let Some(mode) = self.alternate {
            text.push_str(&format!("\x1b[?{mode}h"));
        }
        text.push_str(&self.keyboard[1].set_sequence());
        for (before, parameters, after) in [
            ("\x1b7\x1b[", &self.region, "r\x1b8"),
            ("\x1b[>4", &self.other_keys, "m"),
            ("\x1b[", &self.cursor_shape, " q"),
        ] {
            if !parameters.is_empty() {
                let parameters = String::from_utf8_lossy(parameters);
                text.push_str(&format!("{before}{parameters}{after}"));
            }
        }
        for mode in &self.changed {
            let letter = if DEFAULT_ON_MODES.contains(mode) {
                'l'
            } else {
                'h'
            };
            text.push_str(&format!("\x1b[?{mode}{letter}"));
        }
        if self.keypad {
            text.push_str("\x1b=");
        }
        text
    }
}

/// Returns the parameters, or nothing if they are all zero and thus switch the mode off.
fn unless_zero(parameters: &[u8]) -> Vec<u8> {
    match numbers(parameters).any(|number| number > 0) {
        true => parameters.to_vec(),
        false => Vec::new(),
    }
}

fn is_number(byte: &u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b';' | b':')
}

/// Returns whether an escape sequence is complete.
fn is_whole(sequence: &[u8]) -> bool {
    match sequence {
        [0x1b] | [0x1b, b'[' | b'('] => false,
        [0x1b, b'[', .., last] => matches!(last, 0x40..=0x7e),
        _ => true,
    }
}

/// Returns the numbers between semicolons.
fn numbers(parameters: &[u8]) -> impl Iterator<Item = u16> {
    let text = std::str::from_utf8(parameters).unwrap_or_default();
    text.split(';').filter_map(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_on(output: &[u8]) -> String {
        let mut whole = TerminalModes::default();
        whole.watch(output);
        // The result is the same byte by byte.
        let mut split = TerminalModes::default();
        for byte in output {
            split.watch(&[*byte]);
        }
        assert_eq!(whole.reset_sequence(), split.reset_sequence());
        whole.reset_sequence()
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

    /// A suspended workload gets its modes back, with their parameters.
    #[test]
    fn what_was_on_is_switched_on_again() {
        let all =
            "\x1b[=2u\x1b[>31u\x1b[?1049h\x1b[>5u\x1b7\x1b[2;10r\x1b8\x1b[>4;2m\x1b[5 q\x1b[?1002h";
        let mut modes = TerminalModes::default();
        modes.watch(all.as_bytes());
        assert_eq!(modes.set_sequence(), all);
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
            (b"\x1b[=5u\x1b[=5;3u", ""),
            (b"\x1b[1;41mred", "\x1b[0m"),
            (b"\x0elines", "\x0f"),
            (b"\x1b[2;10r", "\x1b7\x1b[r\x1b8"),
            (b"\x1b[>4;2m", "\x1b[>4;0m"),
            (b"\x1b[5 q", "\x1b[0 q"),
            // Each screen has its own keyboard stack.
            (
                b"\x1b[>1u\x1b[?1049h\x1b[>2u",
                "\x1b[<1u\x1b[?1049l\x1b[<1u",
            ),
        ] {
            assert_eq!(left_on(output), expected, "{output:?}");
        }
    }
}
