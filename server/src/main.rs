//! `cotterd`: the replica daemon. This file reads the command line, and turns the outcome into one
//! line and an exit status; everything else is in the library.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use cotter_server::config::{Command, CommandLine, Config, LogFormat, span_of_time};
use cotter_server::failure::{Exit, Failure};
use cotter_server::{birth, daemon, dev, inspect, salvage, telemetry};
use std::process::ExitCode;

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Help and version are answers, and go to standard output.
            let is_answer = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            let _ = error.print();
            return if is_answer {
                ExitCode::SUCCESS
            } else {
                Exit::Usage.into()
            };
        }
    };
    match obey(line.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cotterd: {failure}");
            failure.exit.into()
        }
    }
}

fn obey(command: Command) -> Result<(), Failure> {
    match command {
        Command::Dev(arguments) => {
            let _telemetry = telemetry::start(LogFormat::parse(&arguments.log_format)?);
            runtime()?.block_on(dev::dev(&arguments))
        }
        Command::Init(arguments) => {
            let timeout = span_of_time("--timeout", &arguments.timeout)?;
            let config = Config::load(&arguments.settings)?;
            let _telemetry = telemetry::start(config.log_format);
            let cell = runtime()?.block_on(birth::init(&config, timeout))?;
            println!(
                "the cell {} is born: id {cell}, replica {}; start it with cotterd run",
                config.cell, config.replica
            );
            Ok(())
        }
        Command::Restore(arguments) => {
            let timeout = span_of_time("--timeout", &arguments.timeout)?;
            let config = Config::load(&arguments.settings)?;
            let _telemetry = telemetry::start(config.log_format);
            let ground = birth::Ground::read(&arguments.file, arguments.token_floor)?;
            let cell = runtime()?.block_on(birth::restore(&config, timeout, ground))?;
            println!(
                "the cell {} is restored: id {cell}, replica {}; start it with cotterd run",
                config.cell, config.replica
            );
            Ok(())
        }
        Command::Join(arguments) => {
            let timeout = span_of_time("--timeout", &arguments.timeout)?;
            let config = Config::load(&arguments.settings)?;
            let _telemetry = telemetry::start(config.log_format);
            let cell = runtime()?.block_on(birth::join(&config, timeout))?;
            println!(
                "replica {} has joined the cell {} (id {cell}) and has no vote yet; start it with \
                 cotterd run, then give it one with cotter cell add or replace",
                config.replica, config.cell
            );
            Ok(())
        }
        Command::Run(arguments) => {
            let mut config = Config::load(&arguments.settings)?;
            config.rejoin |= arguments.rejoin;
            let _telemetry = telemetry::start(config.log_format);
            if arguments.rebuild {
                daemon::distrust(&config)?;
            }
            runtime()?.block_on(daemon::run(config))
        }
        Command::Salvage(arguments) => salvage::salvage(&arguments),
        Command::Inspect(arguments) => inspect::inspect(&arguments),
        Command::Man(arguments) => {
            let definition = CommandLine::command();
            let written = cotter_manual::write_pages(&definition, 8, &arguments.dir)
                .map_err(|error| Failure::input_output(error.to_string()))?;
            for path in written {
                println!("{}", path.display());
            }
            Ok(())
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unavailable(format!("no threads: {error}")))
}
