//! What Markdown needs: tables, footnotes, and texts that do not break them.

use std::fmt::Write;

/// A table. The first columns are words, all that follow are figures.
#[derive(Debug)]
pub(super) struct Grid {
    words: usize,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub(super) fn new<S: Into<String>>(words: usize, header: impl IntoIterator<Item = S>) -> Self {
        Self { words, header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(super) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, with an empty line behind it.
    pub(super) fn text(&self) -> String {
        let mut text = line(&self.header);
        let columns = 0..self.header.len();
        let rule = columns.map(|at| if at < self.words { "---" } else { "---:" }.to_owned());
        text += &line(&rule.collect::<Vec<_>>());
        self.rows.iter().for_each(|row| text += &line(row));
        text + "\n"
    }
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Notes below a table, numbered as they come up. The same words have the same number.
#[derive(Debug, Default)]
pub(super) struct Footnotes {
    notes: Vec<String>,
}

impl Footnotes {
    /// A mark for the cell that the note is about.
    pub(super) fn mark(&mut self, note: String) -> String {
        let at = self.notes.iter().position(|known| *known == note).unwrap_or_else(|| {
            self.notes.push(note);
            self.notes.len() - 1
        });
        format!("<sup>{}</sup>", at + 1)
    }

    /// The notes, with an empty line behind them.
    pub(super) fn text(&self) -> String {
        if self.notes.is_empty() {
            return String::new();
        }
        let mut text = String::new();
        for (at, note) in self.notes.iter().enumerate() {
            let _ = writeln!(text, "{}. {note}", at + 1);
        }
        text + "\n"
    }
}

/// A text of someone else's, fit for a table, a list or a paragraph. Code spans are kept.
pub(super) fn plain(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|").replace('<', "&lt;").replace('[', "\\[")
}

/// Words that must stay on one line.
pub(super) fn unbroken(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

/// Something that is there for those who open it.
pub(super) fn details(summary: &str, body: &str) -> String {
    format!("<details><summary>{summary}</summary>\n\n{body}</details>\n\n")
}

/// `1 round`, `3 rounds`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands_of(count as u64), if count == 1 { one } else { many })
}

/// `1,234,567`.
pub(super) fn thousands_of(number: u64) -> String {
    super::figures::thousands(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_on_the_left_and_figures_on_the_right() {
        let mut grid = Grid::new(1, ["workload", "orlop"]);
        assert!(grid.is_empty());
        grid.row(["fillseq", "1"]);
        assert_eq!(grid.text(), "| workload | orlop |\n| --- | ---: |\n| fillseq | 1 |\n\n");
    }

    #[test]
    fn the_same_note_has_one_number() {
        let mut notes = Footnotes::default();
        assert_eq!(notes.text(), "");
        assert_eq!(notes.mark("a".to_owned()), "<sup>1</sup>");
        assert_eq!(notes.mark("b".to_owned()), "<sup>2</sup>");
        assert_eq!(notes.mark("a".to_owned()), "<sup>1</sup>");
        assert_eq!(notes.text(), "1. a\n2. b\n\n");
    }

    #[test]
    fn foreign_texts_do_not_break_a_table() {
        assert_eq!(plain("a | b\n  <c> `d`"), "a \\| b &lt;c> `d`");
    }
}
