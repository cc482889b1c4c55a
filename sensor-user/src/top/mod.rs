//! `earthdog top`: clients and zones of the running sensor, nearest to a bound first, once a second.
//!
//! `app` is the state and what keys do to it, `draw` how it looks; neither touches a terminal or a clock.

mod app;
mod draw;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde_json::Value;

use crate::cli::TopArgs;
use crate::clock;
use crate::config::Config;
use crate::escape::escape;
use crate::exit::{Code, Error};
use crate::explain;
use crate::live::control;
use crate::pipeline::top::{Top, VERSION};
pub use app::Sort;
use app::{Action, App};

/// Between two questions.
const PERIOD: Duration = Duration::from_secs(1);
/// Columns and lines of what is written where there is no terminal.
const PLAIN: (u16, u16) = (80, 24);

/// Shows it until `q`; once, as text, where standard output is no terminal.
pub fn run(args: &TopArgs, config: &Config) -> anyhow::Result<Code> {
    let colour = std::env::var_os("NO_COLOR").is_none();
    let mut app = App::new(args.sort, args.filter.clone().unwrap_or_default(), colour);
    let (top, status) = ask(config)?;
    app.take(top, &status);
    if !io::stdout().is_terminal() || args.once {
        let text = draw::plain(&app, PLAIN)?;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Error::stdout(&error))?;
        return Ok(Code::Ok);
    }
    let mut terminal = ratatui::try_init().map_err(|error| Error::stdout(&error))?;
    let shown = watch(&mut terminal, &mut app, config);
    ratatui::restore();
    shown
}

fn watch(terminal: &mut ratatui::DefaultTerminal, app: &mut App, config: &Config) -> anyhow::Result<Code> {
    let mut asked = clock::monotonic();
    loop {
        terminal.draw(|frame| draw::draw(app, frame))?;
        let wait = PERIOD.saturating_sub(asked.elapsed());
        if event::poll(wait)? {
            let Event::Key(key) = event::read()? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match app.key(key) {
                Action::None => {}
                Action::Quit => return Ok(Code::Ok),
                Action::Explain(id) => match explain::explained(config, &id) {
                    Ok(text) => app.show(&text),
                    Err(error) => app.show(&escape(&error.message)),
                },
            }
        }
        if asked.elapsed() >= PERIOD {
            asked = clock::monotonic();
            match ask(config) {
                Ok((top, status)) => app.take(top, &status),
                // What was seen last stays, with the reason why there is nothing new.
                Err(error) => app.lost(&error.message),
            }
        }
    }
}

fn ask(config: &Config) -> Result<(Top, Value), Error> {
    let socket = Path::new(&config.live.control_socket);
    let other = |what: String| {
        Error::new(
            Code::Failure,
            format!("the sensor is of another version, its answer cannot be read: {what}"),
        )
    };
    let top: Top =
        serde_json::from_value(control::request(socket, "top")?).map_err(|error| other(error.to_string()))?;
    if top.v != VERSION {
        return Err(other(format!("version {} of `top`, this is {VERSION}", top.v)));
    }
    Ok((top, control::request(socket, "status")?))
}
