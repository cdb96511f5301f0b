//! Which columns of the table fit on the terminal, and how wide they are.

use super::row::HEAD;
use crate::cli::table::{Cell, Columns};

/// The columns in each layout, from the widest to the narrowest.
const LAYOUTS: [&[usize]; 4] = [&[0, 1, 3, 4, 5, 6], &[0, 2, 3, 4, 5, 6], &[0, 2, 3, 5, 6], &[0, 3, 5, 6]];
/// The call and what happened. They may be cut where the terminal is narrow.
const FLEXIBLE: [usize; 2] = [5, 6];
/// A layout is taken if these columns have so much room, or as much as they need.
const READABLE: [usize; 2] = [18, 24];
/// How wide each column usually is, for calls that are not there yet when the heading is printed.
const USUAL: [usize; 7] = [5, 14, 8, 4, 7, 40, 40];
/// The most characters of a flexible column without a terminal's width.
const WIDEST: usize = 200;

/// The columns of a table.
pub(super) struct Layout {
    shown: &'static [usize],
    columns: Columns,
}

impl Layout {
    /// For these rows, in lines of at most `width` characters. `more`: further rows will come.
    pub(super) fn of(rows: &[Vec<Cell>], width: Option<usize>, more: bool) -> Self {
        let texts: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| cell.text.clone()).collect()).collect();
        let mut columns = Columns::of(&HEAD, &texts).at_most(WIDEST, &FLEXIBLE);
        if more {
            columns = columns.at_least(&USUAL);
        }
        let Some(width) = width else { return Self::with(&columns, LAYOUTS[0]) };
        let fits = |shown: &&&[usize]| {
            let missing = |(at, readable): (&usize, usize)| columns.of_column(*at).saturating_sub(readable);
            let spare: usize = FLEXIBLE.iter().zip(READABLE).map(missing).sum();
            columns.only(shown).width() - spare <= width
        };
        let shown = LAYOUTS.iter().find(fits).copied().unwrap_or(LAYOUTS[LAYOUTS.len() - 1]);
        let mut layout = Self::with(&columns, shown);
        let flexible: Vec<usize> =
            shown.iter().enumerate().filter(|(_, at)| FLEXIBLE.contains(at)).map(|(place, _)| place).collect();
        layout.columns = layout.columns.fit(width, &flexible);
        layout
    }

    fn with(columns: &Columns, shown: &'static [usize]) -> Self {
        Self { shown, columns: columns.only(shown) }
    }

    /// The heading, and a line under it.
    pub(super) fn head(&self) -> String {
        let names: Vec<&str> = self.shown.iter().filter_map(|at| HEAD.get(*at).copied()).collect();
        self.columns.head(&names)
    }

    /// One row.
    pub(super) fn line(&self, cells: &[Cell], colours: bool) -> String {
        let shown: Vec<Cell> = self.shown.iter().filter_map(|at| cells.get(*at).cloned()).collect();
        match colours {
            true => self.columns.styled(&shown),
            false => self.columns.line(&shown.into_iter().map(|cell| cell.text).collect::<Vec<_>>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::row::{cells, tests::listed};
    use super::*;
    use crate::store::State;

    fn table(width: usize) -> String {
        let long = format!("http_429: rate_limit_error: {}", "this is too much 模型 ".repeat(30));
        let model = r#"{"gen_ai.response.model":"claude-sonnet-4-5-20250929","gen_ai.usage.input_tokens":12345,"gen_ai.usage.output_tokens":512}"#;
        let mut far = listed(&long, model, State::Pending, Some("unreachable"));
        (far.call.id, far.call.path) = (12_345_678, "/a/long/path".repeat(20));
        let rows = [cells(&far), cells(&listed("", model, State::Delivered, None))];
        let layout = Layout::of(&rows, Some(width), false);
        [layout.head(), layout.line(&rows[0], false), layout.line(&rows[1], false)].concat()
    }

    #[test]
    fn a_table_fits_every_width_from_40_on_and_keeps_what_matters() {
        for width in 40..260 {
            let table = table(width);
            for line in table.lines() {
                assert!(line.width() <= width, "{width}: {}: {line}", line.width());
            }
            for words in ["429", "12345678", "POST", "what happe", "sonnet"] {
                assert!(table.contains(words) || words == "sonnet" && width < 48, "{width}: {words}\n{table}");
            }
            assert_eq!(table.contains("13 ms"), width >= 77, "{width}\n{table}");
        }
        assert!(table(120).contains("11-14 22:13:20") && table(80).contains("22:13:20"), "{}", table(80));
    }

    #[test]
    fn without_a_terminal_nothing_but_endless_texts_is_cut() {
        let rows = [cells(&listed("", "", State::Delivered, None))];
        let layout = Layout::of(&rows, None, false);
        assert!(layout.line(&rows[0], true).contains("\u{1b}[32m200\u{1b}[0m"));
        assert_eq!(layout.line(&rows[0], false), "7   11-14 22:13:20  200   13 ms  POST api.test/v1\n");
    }
}
