//! Aligned columns, and numbers as people read them.

use std::io::{self, Write};

/// Rows that decide the widths; those after them are printed as they come, so that a million rows
/// need no memory.
const WINDOW_ROWS: usize = 1000;

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The heading.
    pub title: &'static str,
    /// Numbers stand at the right.
    pub is_number: bool,
}

/// A column of text.
pub const fn text(title: &'static str) -> Column {
    Column { title, is_number: false }
}

/// A column of numbers.
pub const fn number(title: &'static str) -> Column {
    Column { title, is_number: true }
}

/// A table that is written as it grows.
pub struct Table<W: Write> {
    output: W,
    columns: &'static [Column],
    widths: Vec<usize>,
    window: Vec<Vec<String>>,
    is_started: bool,
}

impl<W: Write> Table<W> {
    pub fn new(output: W, columns: &'static [Column]) -> Self {
        let widths = columns.iter().map(|column| column.title.len()).collect();
        Self { output, columns, widths, window: Vec::new(), is_started: false }
    }

    pub fn push(&mut self, cells: Vec<String>) -> io::Result<()> {
        let cells: Vec<String> = cells.iter().map(|cell| printable(cell)).collect();
        if self.is_started {
            return self.write_row(&cells);
        }
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.window.push(cells);
        if self.window.len() >= WINDOW_ROWS { self.start() } else { Ok(()) }
    }

    /// Writes what is left; `empty` where there was no row at all.
    pub fn finish(mut self, empty: &str) -> io::Result<()> {
        if !self.is_started {
            if self.window.is_empty() {
                writeln!(self.output, "{empty}")?;
            } else {
                self.start()?;
            }
        }
        self.output.flush()
    }

    fn start(&mut self) -> io::Result<()> {
        self.is_started = true;
        let titles: Vec<String> =
            self.columns.iter().map(|column| column.title.to_owned()).collect();
        self.write_row(&titles)?;
        for row in std::mem::take(&mut self.window) {
            self.write_row(&row)?;
        }
        Ok(())
    }

    fn write_row(&mut self, cells: &[String]) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, column), width) in cells.iter().zip(self.columns).zip(&self.widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            if column.is_number {
                line.push_str(&gap);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&gap);
            }
        }
        writeln!(self.output, "{}", line.trim_end())
    }
}

/// A cell as it may go to a terminal: peers and subscribers choose some of the texts, and control
/// characters in them would be obeyed. An empty cell is a dash, so that columns can be counted.
pub fn printable(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    let is_harmless = |character: char| !character.is_control() && !is_format(character);
    cell.chars()
        .map(|character| {
            if is_harmless(character) {
                character.to_string()
            } else {
                character.escape_unicode().to_string()
            }
        })
        .collect()
}

/// Characters that turn the direction of the text around them, and line separators.
fn is_format(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A count: exact below ten thousand, then three or four digits and a letter.
pub fn count(value: u64) -> String {
    scaled(value, "")
}

/// Octets.
pub fn bytes(value: u64) -> String {
    scaled(value, "B")
}

fn scaled(value: u64, unit: &str) -> String {
    const LETTERS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if value < 10_000 {
        return format!("{value}{unit}");
    }
    // Rounded first: 999,960 is 1.0 M, not 1000.0 k.
    let mut divisor = 1;
    for letter in LETTERS {
        divisor *= 1000;
        let tenths = (u128::from(value) * 10 + divisor / 2) / divisor;
        if tenths < 10_000 {
            return format!("{}.{}{letter}{unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{value}{unit}")
}

/// The two largest units of a time.
pub fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[text("NAME"), number("COUNT"), text("END")];

    fn rows(rows: &[[&str; 3]]) -> String {
        let mut output = Vec::new();
        let mut table = Table::new(&mut output, COLUMNS);
        for row in rows {
            table.push(row.iter().map(|cell| (*cell).to_owned()).collect()).unwrap();
        }
        table.finish("nothing").unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let expected = "NAME     COUNT  END\na            1  x\nlonger  123456  -\n";
        assert_eq!(rows(&[["a", "1", "x"], ["longer", "123456", ""]]), expected);
        assert_eq!(rows(&[]), "nothing\n");
    }

    #[test]
    fn rows_behind_the_window_are_printed_as_they_come() {
        let many = vec![["a", "1", "x"]; WINDOW_ROWS + 5];
        let printed = rows(&many);
        assert_eq!(printed.lines().count(), WINDOW_ROWS + 6);
        assert!(printed.lines().skip(1).all(|line| line == "a         1  x"));
    }

    #[test]
    fn control_characters_are_spelt_out() {
        let printed = rows(&[["\u{1b}[2J\u{202e}é", "1", "x\ny"]]);
        assert!(printed.contains("\\u{1b}[2J\\u{202e}é"), "{printed}");
        assert_eq!(printed.lines().count(), 2);
    }

    #[test]
    fn counts_are_exact_then_short() {
        let cases = [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (999_949, "999.9k"),
            (999_950, "1.0M"),
            (12_345_678, "12.3M"),
            (u64::MAX, "18.4E"),
        ];
        for (value, expected) in cases {
            assert_eq!(count(value), expected);
        }
        assert_eq!(bytes(1500), "1500B");
        assert_eq!(bytes(1_500_000_000), "1.5GB");
    }

    #[test]
    fn ages_have_two_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3_599, "59m59s"),
            (3_600, "1h00m"),
            (86_399, "23h59m"),
            (86_400, "1d00h"),
            (8_726_400, "101d00h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(seconds), expected);
        }
    }
}
