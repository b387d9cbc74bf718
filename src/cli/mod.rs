//! Subcommands: one file each, clap types beside the action.

pub mod get;
