//! `ringfence completions` and `ringfence man`: made from the definition of the command line.

use std::io::Write;

use clap::CommandFactory;

use crate::cli::{CommandLine, Completions};
use crate::failure::Failure;
use crate::output;

const NAME: &str = "ringfence";

/// The man page can't be made.
#[derive(Debug, thiserror::Error)]
#[error("the man page can't be rendered")]
struct RenderError(#[source] std::io::Error);

/// Prints the completions of one shell.
pub(crate) fn completions(options: &Completions) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut CommandLine::command(), NAME, &mut text);
    output::data(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

/// Prints the man page: the program, then one section for each command.
pub(crate) fn man() -> Result<u8, Failure> {
    let mut text = Vec::new();
    let mut program = CommandLine::command();
    program.build();
    render(&program, &mut text).map_err(|error| Failure::internal(RenderError(error)))?;
    output::data(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

fn render(program: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    let page = clap_mangen::Man::new(program.clone());
    page.render_title(text)?;
    page.render_name_section(text)?;
    page.render_synopsis_section(text)?;
    page.render_description_section(text)?;
    page.render_options_section(text)?;
    for command in program.get_subcommands() {
        render_command(command, text)?;
    }
    Ok(())
}

fn render_command(command: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    let page = clap_mangen::Man::new(command.clone());
    let name = command
        .get_bin_name()
        .unwrap_or_else(|| command.get_name())
        .to_uppercase();
    writeln!(text, ".SH \"{}\"", name.replace('-', "\\-"))?;
    let mut section = Vec::new();
    page.render_description_section(&mut section)?;
    page.render_synopsis_section(&mut section)?;
    page.render_options_section(&mut section)?;
    // The sections of a command are subsections of the one page.
    text.extend(
        String::from_utf8_lossy(&section)
            .replace(".SH ", ".SS ")
            .into_bytes(),
    );
    for inner in command.get_subcommands() {
        render_command(inner, text)?;
    }
    Ok(())
}
