//! Tables of aligned columns: a head in capitals, two spaces between columns, and no lines.

use tabled::{
    builder::Builder,
    settings::{Alignment, Color, Padding, Style, object::Cell as At, object::Columns},
};

use super::style::{END, Paint, Tint};

/// The head of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    numeric: bool,
}

/// A column of words, aligned to the left.
pub(crate) const fn words(title: &'static str) -> Column {
    Column {
        title,
        numeric: false,
    }
}

/// A column of numbers, aligned to the right.
pub(crate) const fn figures(title: &'static str) -> Column {
    Column {
        title,
        numeric: true,
    }
}

/// One field of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tint: Option<Tint>,
}

impl Cell {
    /// Text with the colour of its meaning.
    pub(crate) fn tinted(text: impl Into<String>, tint: Option<Tint>) -> Self {
        // A control character in a peer's text must not reach the terminal or break a row.
        let text = text.into().replace(|letter: char| letter.is_control(), " ");
        Self { text, tint }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::tinted(text, None)
    }
}

/// The table as text; each line is ended, none has spaces at its end.
pub(crate) fn render(columns: &[Column], rows: Vec<Vec<Cell>>, paint: Paint) -> String {
    let mut tints = Vec::new();
    let mut builder = Builder::with_capacity(rows.len() + 1, columns.len());
    builder.push_record(columns.iter().map(|column| column.title.to_owned()));
    tints.extend((0..columns.len()).map(|column| ((0, column), Some(Tint::Head))));
    for (index, row) in rows.into_iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            tints.push(((index + 1, column), cell.tint));
        }
        builder.push_record(row.into_iter().map(|cell| cell.text));
    }
    let mut table = builder.build();
    table
        .with(Style::empty())
        .with(Padding::new(0, 2, 0, 0))
        .with(Alignment::left());
    for (index, column) in columns.iter().enumerate() {
        if column.numeric {
            table.modify(Columns::one(index), Alignment::right());
        }
    }
    for ((row, column), tint) in tints {
        if let Some(tint) = paint.tint(tint) {
            table.modify(At::new(row, column), Color::new(tint.begin(), END));
        }
    }
    lines(&table.to_string())
}

fn lines(table: &str) -> String {
    let mut text = String::with_capacity(table.len() + 1);
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [words("NAME"), figures("COUNT"), words("WHY")];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![
                "a".into(),
                "7".into(),
                Cell::tinted("good", Some(Tint::Good)),
            ],
            vec!["longer".into(), "12345".into(), "".into()],
        ]
    }

    #[test]
    fn words_are_left_and_figures_right() {
        assert_eq!(
            render(&COLUMNS, rows(), Paint::PLAIN),
            "NAME    COUNT  WHY\n\
             a           7  good\n\
             longer  12345\n"
        );
    }

    #[test]
    fn colours_change_no_column() {
        let coloured = render(&COLUMNS, rows(), Paint::COLOURED);
        assert!(coloured.contains("\x1b[32mgood"), "{coloured:?}");
        let mut plain = coloured;
        for tint in [Tint::Good, Tint::Head] {
            plain = plain.replace(tint.begin(), "");
        }
        let plain = lines(&plain.replace(END, ""));
        assert_eq!(plain, render(&COLUMNS, rows(), Paint::PLAIN));
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(Cell::from("a\x1b[2J\nb").text, "a [2J b");
    }

    #[test]
    fn a_table_without_rows_is_its_head() {
        assert_eq!(
            render(&COLUMNS, Vec::new(), Paint::PLAIN),
            "NAME  COUNT  WHY\n"
        );
    }
}
