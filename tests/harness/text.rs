//! Makes output comparable: replaces its variable parts by placeholders.

/// FNV-1a, 64 bits, as moat computes it.
pub(crate) fn fnv1a(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Replaces `run_` and twelve digits by `[ID]`, RFC 3339 times by `[TIME]`, and ages such as `3s ago` by `[AGE]`.
pub(super) fn placeholders(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at_word = !out.ends_with(|c: char| c.is_ascii_alphanumeric());
        let found = at_word
            .then(|| {
                None.or_else(|| Some((id(rest)?, "[ID]")))
                    .or_else(|| Some((time(rest)?, "[TIME]")))
                    .or_else(|| Some((age(rest)?, "[AGE]")))
            })
            .flatten();
        let (length, text) = found.unwrap_or((first.len_utf8(), &rest[..first.len_utf8()]));
        out.push_str(text);
        rest = &rest[length..];
    }
    out
}

fn id(text: &str) -> Option<usize> {
    let digits = text.strip_prefix("run_")?.get(..12)?;
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digits.bytes().all(hex).then_some(16)
}

fn time(text: &str) -> Option<usize> {
    let shape = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    let part = text.get(..shape.len())?;
    let matches = |(byte, shape): (u8, u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    };
    part.bytes()
        .zip(shape.bytes())
        .all(matches)
        .then_some(shape.len())
}

fn age(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.get(digits..).filter(|_| digits > 0)?;
    ["s ago", "m ago", "h ago", "d ago"]
        .iter()
        .find(|unit| rest.starts_with(*unit))
        .map(|unit| digits + unit.len())
}
