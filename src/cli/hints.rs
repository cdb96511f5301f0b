//! Hints for command lines that are nearly right.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The error, with a tip where a common slip explains it.
pub(super) fn with_hint(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if error.kind() != ErrorKind::InvalidSubcommand || error.get(ContextKind::SuggestedSubcommand).is_some() {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    if let Some(hint) = hint(word, arguments) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(hint)]));
    }
    error
}

/// What an unknown command was probably meant to be.
fn hint(word: &str, arguments: &[OsString]) -> Option<String> {
    let is_first = arguments.get(1).is_some_and(|first| first == word);
    is_first.then(|| "to run a program with the proxy: otas-proxy run -- PROGRAM".to_owned())
}

#[cfg(test)]
mod tests {
    fn said(line: &str) -> String {
        let arguments: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        let error = crate::cli::command().unwrap().try_get_matches_from(&arguments).unwrap_err();
        super::with_hint(error, &arguments).to_string()
    }

    #[test]
    fn a_program_without_run_is_explained() {
        let program = said("otas-proxy python agent.py");
        assert!(program.contains("tip: to run a program with the proxy: otas-proxy run -- PROGRAM"), "{program}");
        let typo = said("otas-proxy evnets");
        assert!(typo.contains("'events'") && !typo.contains("run --"), "{typo}");
        assert!(!said("otas-proxy ca 999").contains("tip:"));
    }
}
