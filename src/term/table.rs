//! Tables for people: each column has the width of its widest cell, and lines are cut to the width of the terminal.

/// Returns the rows under a header. Lines are cut to `width`, if it is given.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], width: Option<usize>) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(length(cell));
        }
    }
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&header).chain(rows) {
        out.push_str(&line(row, &widths, width));
        out.push('\n');
    }
    out
}

fn line(row: &[String], widths: &[usize], width: Option<usize>) -> String {
    let mut text = String::new();
    let mut blanks = 0;
    for (cell, width) in row.iter().zip(widths) {
        // Lines have no trailing spaces.
        if !cell.is_empty() {
            text.extend(std::iter::repeat_n(' ', blanks));
            text.push_str(cell);
            blanks = 0;
        }
        blanks += width.saturating_sub(length(cell)) + 2;
    }
    match width {
        Some(width) if length(&text) > width => {
            let kept: String = text.chars().take(width.saturating_sub(3)).collect();
            kept + "..."
        }
        _ => text,
    }
}

/// Returns the number of characters.
fn length(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.chars().count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_is_cut() {
        let rows = vec![vec!["a".into(), "long command line".into()]];
        assert_eq!(
            table(&["NAME", "COMMAND"], &rows, None),
            "NAME  COMMAND\na     long command line\n"
        );
        assert_eq!(
            table(&["NAME", "COMMAND"], &rows, Some(12)),
            "NAME  COM...\na     lon...\n"
        );
        let rows = vec![
            vec!["a".into(), String::new(), "\u{e9}x".into()],
            vec!["b".into()],
        ];
        assert_eq!(
            table(&["N", "M", "C"], &rows, None),
            "N  M  C\na     \u{e9}x\nb\n"
        );
    }
}
