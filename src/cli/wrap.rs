//! Text in 80 columns: wrapped paragraphs, and rows of two aligned columns.

/// The maximum width of a line, in columns.
pub(super) const WIDTH: usize = 80;

/// The maximum width of the left column; a longer left side gets its own line.
const MAX_LEFT_WIDTH: usize = 32;

/// Adds the words of `text` in indented lines. `column` is the current column.
pub(super) fn wrap(out: &mut String, text: &str, indent: usize, mut column: usize) {
    let mut is_first = true;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if !is_first && column + 1 + width > WIDTH {
            out.push('\n');
            column = 0;
            is_first = true;
        }
        if is_first {
            column += pad(out, column, indent);
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
        is_first = false;
    }
    out.push('\n');
}

/// Adds paragraphs, one per line of `text`, with an empty line between them.
pub(super) fn paragraphs(out: &mut String, text: &str, indent: usize) {
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        wrap(out, line, indent, 0);
    }
}

/// Adds rows of two columns; the right column is aligned and wrapped.
pub(super) fn columns(out: &mut String, rows: &[(String, &str)]) {
    let widths = rows.iter().map(|(left, _)| left.chars().count() + 2);
    let indent = widths
        .filter(|width| *width <= MAX_LEFT_WIDTH)
        .max()
        .unwrap_or(MAX_LEFT_WIDTH);
    for (left, right) in rows {
        out.push_str(left);
        let mut column = left.chars().count();
        if column + 2 > indent {
            out.push('\n');
            column = 0;
        }
        wrap(out, right, indent, column);
    }
}

/// Adds spaces from one column to another, and returns their number.
fn pad(out: &mut String, from: usize, to: usize) -> usize {
    let spaces = to.saturating_sub(from);
    out.extend(std::iter::repeat_n(' ', spaces));
    spaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_the_width() {
        let mut out = String::new();
        wrap(&mut out, &"word ".repeat(40), 4, 0);
        let widths: Vec<usize> = out.lines().map(str::len).collect();
        assert_eq!(widths, [78, 78, 53]);
        assert!(out.lines().all(|line| line.starts_with("    word")));
    }

    #[test]
    fn leaves_a_word_that_is_too_long_whole() {
        let mut out = String::new();
        let long = "x".repeat(100);
        wrap(&mut out, &format!("a {long} b"), 2, 0);
        assert_eq!(out, format!("  a\n  {long}\n  b\n"));
    }

    #[test]
    fn aligns_columns() {
        let mut out = String::new();
        let rows = [("  a".to_owned(), "one"), ("  long".to_owned(), "two")];
        columns(&mut out, &rows);
        assert_eq!(out, "  a     one\n  long  two\n");
    }

    #[test]
    fn gives_a_wide_left_side_a_line_of_its_own() {
        let mut out = String::new();
        let wide = "w".repeat(40);
        columns(&mut out, &[("a".to_owned(), "one"), (wide.clone(), "two")]);
        assert_eq!(out, format!("a  one\n{wide}\n   two\n"));
    }
}
