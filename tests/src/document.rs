//! The commands of a page of the documentation, so that a test can run them as they stand there.
//!
//! A section is everything under its heading, up to the next heading of the same or a higher level. Its commands are its
//! blocks that are marked as `sh`. The first line of a block may be a comment that says where it is run: `# on a`, or
//! `# on a, b and c` for one after the other.

use std::{fs, path::Path};

/// A page in Markdown.
#[derive(Debug)]
pub struct Page(String);

/// A block of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The machines that it is run on, one after the other; empty if the block does not say it.
    pub on: Vec<String>,
    /// The commands, without the line that names the machines.
    pub commands: String,
}

impl Page {
    /// The page at `path` in this repository.
    pub fn open(path: &str) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let path = repository.join(path);
        let text = fs::read_to_string(&path);
        Self(text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// The blocks of the section with this heading.
    ///
    /// # Panics
    /// There is no such section, or it has no commands.
    pub fn commands(&self, heading: &str) -> Vec<Block> {
        let blocks = blocks(&self.section(heading));
        assert!(!blocks.is_empty(), "no commands under {heading:?}");
        blocks
    }

    /// The headings directly above commands, in order.
    pub fn headings_with_commands(&self) -> Vec<&str> {
        let (mut heading, mut is_code) = ("", false);
        let mut found = Vec::new();
        for line in self.0.lines() {
            is_code ^= line.starts_with("```");
            if let Some((_, text)) = heading_of(line).filter(|_| !is_code) {
                heading = text;
            }
            if line == "```sh" && found.last() != Some(&heading) {
                found.push(heading);
            }
        }
        found
    }

    fn section(&self, heading: &str) -> Vec<&str> {
        let (mut level, mut is_code) = (None, false);
        let mut section = Vec::new();
        for line in self.0.lines() {
            is_code ^= line.starts_with("```");
            let found = heading_of(line).filter(|_| !is_code);
            match (level, found) {
                (None, Some((depth, text))) if text == heading => level = Some(depth),
                (Some(level), Some((depth, _))) if depth <= level => break,
                (Some(_), _) => section.push(line),
                (None, _) => {}
            }
        }
        assert!(level.is_some(), "no heading {heading:?}");
        section
    }
}

/// The level and the text of a heading.
fn heading_of(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    Some((level, text.strip_prefix(' ')?)).filter(|_| level > 0)
}

fn blocks(section: &[&str]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = section.iter();
    while lines.any(|line| *line == "```sh") {
        let block = lines.by_ref().take_while(|line| **line != "```");
        blocks.push(Block::of(&block.copied().collect::<Vec<_>>()));
    }
    blocks
}

impl Block {
    fn of(lines: &[&str]) -> Self {
        let first = lines.first().and_then(|line| line.strip_prefix("# on "));
        let names = first.map(|names| names.replace(" and ", ", "));
        let on = names.iter().flat_map(|names| names.split(", "));
        Self {
            on: on.map(str::to_owned).collect(),
            commands: lines[usize::from(first.is_some())..].join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n## One\n```sh\nfirst\n# not a heading\n```\ntext\n```toml\nkey = 1\n```\n\
                        ### Part\n```sh\n# on a, b and c\nsecond\n```\n## Two\n```sh\nthird\n```\n";

    #[test]
    fn a_section_has_the_commands_up_to_the_next_heading_of_its_level() {
        let page = Page(PAGE.to_owned());
        let [first, second] = page.commands("One").try_into().unwrap();
        assert_eq!(first.commands, "first\n# not a heading");
        assert!(first.on.is_empty());
        assert_eq!(
            (second.on, second.commands.as_str()),
            (["a", "b", "c"].map(str::to_owned).into(), "second")
        );
        assert_eq!(page.commands("Part").len(), 1);
        assert_eq!(page.commands("Two")[0].commands, "third");
        assert_eq!(page.headings_with_commands(), ["One", "Part", "Two"]);
    }

    #[test]
    #[should_panic(expected = "no heading \"Three\"")]
    fn a_section_that_is_gone_is_an_error() {
        let _ = Page(PAGE.to_owned()).commands("Three");
    }
}
