//! Suggestions for mistyped words.

/// The maximum length of a compared word, because the cost of a comparison is quadratic.
const MAX_WORD_CHARS: usize = 40;

/// Returns the candidate with the smallest edit distance to `word`, the first of several. Returns `None` if the
/// distance exceeds a third of the length of `word`.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let letters = word.chars().count();
    if letters > MAX_WORD_CHARS {
        return None;
    }
    let allowed = (letters / 3).max(1);
    candidates
        .filter(|candidate| candidate.len() <= MAX_WORD_CHARS)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(errors, _)| *errors <= allowed)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, candidate)| candidate)
}

/// Returns the edit distance: the number of letters to insert, drop, replace or swap to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
        nearest(word, candidates.iter().copied())
    }

    #[test]
    fn counts_typing_errors() {
        for (a, b, errors) in [
            ("", "", 0),
            ("", "run", 3),
            ("run", "", 3),
            ("run", "run", 0),
            ("logs", "log", 1),
            ("lsit", "list", 1),
            ("destory", "destroy", 1),
            ("kitten", "sitting", 3),
            ("\u{e9}t\u{e9}", "ete", 2),
        ] {
            assert_eq!(distance(a, b), errors, "{a} {b}");
        }
    }

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let commands = ["run", "logs", "list", "stop", "status", "destroy", "rm"];
        for (word, expected) in [
            ("log", Some("logs")),
            ("lsit", Some("list")),
            ("rum", Some("run")),
            ("statsu", Some("status")),
            ("dstry", None),
            ("distrou", Some("destroy")),
            ("start", None),
            ("npm", None),
            ("", None),
        ] {
            assert_eq!(of(word, &commands), expected, "{word}");
        }
    }

    #[test]
    fn prefers_the_nearest_then_the_first() {
        assert_eq!(of("stop", &["step", "stop"]), Some("stop"));
        assert_eq!(of("stxp", &["step", "stop"]), Some("step"));
    }

    #[test]
    fn leaves_very_long_words_alone() {
        let long = "x".repeat(1_000_000);
        assert_eq!(of(&long, &["run"]), None);
        assert_eq!(of(&"x".repeat(41), &[&"x".repeat(41)]), None);
        let word = "x".repeat(40);
        assert_eq!(of(&word, &[&word]), Some(word.as_str()));
    }
}
