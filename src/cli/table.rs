//! Text in columns.

use std::borrow::Cow;

use clap::builder::styling::Style;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::visible;

/// A flexible column is never made narrower than this.
const NARROWEST: usize = 8;
/// What stands between two columns.
const GAP: &str = "  ";

/// Lays `rows` out under `head`, each column as wide as its widest cell.
pub(super) fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let columns = Columns::of(head, rows);
    let mut text = columns.head(head);
    for row in rows {
        text.push_str(&columns.line(row));
    }
    text
}

/// How a table becomes narrower.
pub(super) struct Narrow {
    /// The columns that are left out, in this order.
    pub(super) dispensable: &'static [usize],
    /// The columns whose cells may be cut.
    pub(super) flexible: &'static [usize],
    /// Columns are left out before these are cut to fewer characters.
    pub(super) readable: usize,
}

/// As [`render`], in lines of at most `width` characters if possible.
pub(super) fn render_in(width: Option<usize>, head: &[&str], rows: &[Vec<String>], narrow: &Narrow) -> String {
    let Some(width) = width else { return render(head, rows) };
    let columns = Columns::of(head, rows);
    let mut shown: Vec<usize> = (0..head.len()).collect();
    for at in narrow.dispensable {
        let spare = |at: &usize| columns.of_column(*at).saturating_sub(narrow.readable);
        let spared: usize = narrow.flexible.iter().filter(|at| shown.contains(at)).map(spare).sum();
        if columns.only(&shown).width() - spared <= width {
            break;
        }
        shown.retain(|column| column != at);
    }
    let flexible: Vec<usize> =
        shown.iter().enumerate().filter(|(_, at)| narrow.flexible.contains(at)).map(|(place, _)| place).collect();
    let columns = columns.only(&shown).narrowed(width, &flexible);
    let names: Vec<&str> = shown.iter().filter_map(|at| head.get(*at).copied()).collect();
    let line =
        |row: &Vec<String>| columns.line(&shown.iter().filter_map(|at| row.get(*at).cloned()).collect::<Vec<_>>());
    rows.iter().fold(columns.head(&names), |text, row| text + &line(row))
}

/// How wide each column is.
pub(super) struct Columns(Vec<usize>);

impl Columns {
    /// Each as wide as its widest cell.
    pub(super) fn of(head: &[&str], rows: &[Vec<String>]) -> Self {
        let mut widths: Vec<usize> = head.iter().map(|h| h.width()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        Self(widths)
    }

    /// Makes each column at least as wide as its `usual` width, for rows that come later.
    pub(super) fn at_least(mut self, usual: &[usize]) -> Self {
        self.0.iter_mut().zip(usual).for_each(|(width, usual)| *width = (*width).max(*usual));
        self
    }

    /// Makes the `flexible` columns at most `widest` characters wide: each line is padded to the widest cell.
    pub(super) fn at_most(mut self, widest: usize, flexible: &[usize]) -> Self {
        for at in flexible {
            if let Some(width) = self.0.get_mut(*at) {
                *width = (*width).min(widest);
            }
        }
        self
    }

    /// As [`Columns::narrowed`]. The last one becomes as wide as that allows, because later rows may need it.
    pub(super) fn fit(self, width: usize, flexible: &[usize]) -> Self {
        let mut fitted = self.narrowed(width, flexible);
        let rest = width.saturating_sub(fitted.width());
        if let Some(last) = fitted.0.last_mut() {
            *last += rest;
        }
        fitted
    }

    /// Makes the `flexible` columns narrower, the widest first, until a line has at most `width` characters.
    fn narrowed(mut self, width: usize, flexible: &[usize]) -> Self {
        while self.width() > width {
            let widest = flexible
                .iter()
                .filter_map(|at| Some((*self.0.get(*at)?, *at)))
                .filter(|(wide, _)| *wide > NARROWEST)
                .max();
            let Some((_, at)) = widest else { break };
            if let Some(column) = self.0.get_mut(at) {
                *column -= 1;
            }
        }
        self
    }

    /// The heading, and a line under it.
    pub(super) fn head(&self, head: &[&str]) -> String {
        let rules: Vec<String> = self.0.iter().map(|width| "─".repeat(*width)).collect();
        let names: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
        format!("{}{}", self.line(&names), self.line(&rules))
    }

    /// One row; what does not fit into its column ends in `…`.
    pub(super) fn line(&self, cells: &[String]) -> String {
        self.laid_out(cells.iter().map(|cell| (cell.as_str(), Style::new())))
    }

    /// One row, each cell in its style.
    pub(super) fn styled(&self, cells: &[Cell]) -> String {
        self.laid_out(cells.iter().map(|cell| (cell.text.as_str(), cell.style)))
    }

    /// The padding behind a cell has no style.
    fn laid_out<'a>(&self, cells: impl Iterator<Item = (&'a str, Style)>) -> String {
        let (mut line, mut owed) = (String::new(), 0);
        for ((text, style), width) in cells.zip(&self.0) {
            let text = fitted(text, *width);
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', owed));
                owed = 0;
                line.push_str(&format!("{style}{text}{style:#}"));
            }
            owed += width.saturating_sub(text.width()) + GAP.len();
        }
        line.push('\n');
        line
    }

    /// How wide a column is.
    pub(super) fn of_column(&self, at: usize) -> usize {
        self.0.get(at).copied().unwrap_or_default()
    }

    /// Only these columns.
    pub(super) fn only(&self, shown: &[usize]) -> Self {
        Self(shown.iter().map(|at| self.of_column(*at)).collect())
    }

    /// The width of a whole line.
    pub(super) fn width(&self) -> usize {
        self.0.iter().sum::<usize>() + GAP.len() * self.0.len().saturating_sub(1)
    }
}

/// A cell with a style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

/// The text, or as much of its beginning as fits, and `…`. Some characters take two columns of a terminal.
pub(super) fn fitted(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut taken) = (String::new(), 1);
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken > width {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    Cow::Owned(kept)
}

/// `text` for a cell: text from agents must not control the terminal.
pub(super) fn cell(text: &str) -> String {
    visible::line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row(&["é", "x"]), row(&["long", ""])];
        assert_eq!(render(&["a", "b"], &rows), "a     b\n────  ─\né     x\nlong\n");
    }

    #[test]
    fn flexible_columns_give_way_and_say_so() {
        let rows = [row(&["1234567890", "abcdefghijklmnop", "end"])];
        let columns = Columns::of(&["n", "wide", "e"], &rows).fit(27, &[1]);
        assert_eq!(columns.line(&rows[0]), "1234567890  abcdefghi…  end\n");
        let narrow = Columns::of(&["n", "wide", "e"], &rows).fit(5, &[1]);
        assert_eq!(narrow.line(&rows[0]), "1234567890  abcdefg…  end\n", "never narrower than it can be read");
    }

    #[test]
    fn a_cell_of_any_length_is_laid_out_and_columns_have_bounds() {
        let rows = [row(&["x", &"long".repeat(20_000)]), row(&["y", ""])];
        assert_eq!(render(&["a", "b"], &rows).lines().count(), 4);
        let columns = Columns::of(&["a", "b"], &rows).at_least(&[3, 1]).at_most(5, &[1]);
        assert_eq!(columns.line(&rows[0]), "x    long…\n");
    }

    #[test]
    fn wide_characters_count_twice_and_styles_not_at_all() {
        let rows = [row(&["模型 出错了", "x"]), row(&["plain", "y"])];
        assert_eq!(render(&["a", "b"], &rows).lines().nth(2), Some("模型 出错了  x"));
        let narrow = Columns::of(&["a", "b"], &rows).fit(11, &[0]);
        assert_eq!(narrow.line(&rows[0]), "模型 出…  x\n");
        let red = clap::builder::styling::AnsiColor::Red.on_default();
        let cells = ["one", "", "end"].map(|text| Cell { text: text.to_owned(), style: red });
        let columns = Columns::of(&["abcde", "b", "c"], &[]);
        assert_eq!(columns.styled(&cells), "\u{1b}[31mone\u{1b}[0m       \u{1b}[31m…\u{1b}[0m\n");
    }

    #[test]
    fn a_narrow_table_leaves_out_what_is_dispensable_before_it_cuts_names() {
        let narrow = Narrow { dispensable: &[2, 1], flexible: &[0], readable: 10 };
        let rows = [row(&["a-long-name-of-a-model", "12", "345", "6"])];
        let in_width = |width| render_in(width, &["name", "calls", "tokens", "cost"], &rows, &narrow);
        let last = |text: String| text.lines().last().unwrap_or_default().to_owned();
        assert_eq!(last(in_width(None)), "a-long-name-of-a-model  12     345     6");
        assert_eq!(last(in_width(Some(43))), "a-long-name-of-a-model  12     345     6");
        assert_eq!(last(in_width(Some(33))), "a-long-name…  12     345     6");
        assert_eq!(last(in_width(Some(25))), "a-long-name…  12     6");
        assert_eq!(last(in_width(Some(16))), "a-long-na…  6");
        assert_eq!(last(in_width(Some(3))), "a-long-…  6", "never narrower than it can be read");
        assert!(in_width(Some(25)).lines().all(|line| line.width() <= 25));
    }

    #[test]
    fn the_last_column_gets_the_remaining_width() {
        let columns = Columns::of(&["n", "e"], &[]).fit(12, &[1]);
        assert_eq!(columns.line(&row(&["1", "longer"])), "1  longer\n");
    }

    #[test]
    fn control_characters_are_not_printed() {
        assert_eq!(cell("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
