//! One file per subcommand: clap types beside their action.

pub mod init;
