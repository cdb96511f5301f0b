//! Whether standard output has colours, and which.

use std::io;

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Style};

// No documentation comment: clap would take it for the command's.
#[derive(clap::Args)]
pub(super) struct ColorArgs {
    /// Use colours: auto is on a terminal, unless NO_COLOR is set (CLICOLOR_FORCE: always)
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

impl ColorArgs {
    /// Whether colours are wanted on standard output.
    pub(super) fn is_wanted(&self) -> bool {
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
        }
    }
}

/// What is less important.
pub(super) const DIM: Style = Style::new().dimmed();
/// What went well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What a person may want to look at.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// What failed.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
