//! The way out beside no proxy at all, beside squid and tinyproxy where they are installed, and beside a bare relay.
//!
//! Clients and origin have a thread for each connection, as ordinary programs do; every proxy is a process of its own,
//! and nothing is tied to a processor. Ours is `crates/egress` with every check, recording to a thread that drains.
//! Invariant: in each round every contender carries the work once, and a contender that fails has no numbers.

mod load;
mod origin;
mod peers;
pub(crate) mod serve;
mod sessions;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::samples::Samples;
use crate::scene::Scene;
use crate::table::{Goal, Row, Unit};
use crate::trial::TrialError;
use load::{Route, Shape, Work};
use serve::Served;

/// The name under which our proxy knows the origin.
const ORIGIN_NAME: &str = "origin.example.com";

/// One way from the clients to the origin.
struct Contender {
    name: &'static str,
    /// By tunnels.
    tunnel: Route,
    /// By whole URLs, where it takes them.
    request: Option<Route>,
}

/// What one contender did with one shape of work, over all rounds.
#[derive(Default)]
struct Score {
    /// Requests, or mebibytes, per second: one figure a round.
    rates: Vec<f64>,
    latencies: Vec<Duration>,
    failure: Option<String>,
}

impl Score {
    fn rate(&self) -> Result<f64, String> {
        if let Some(why) = &self.failure {
            return Err(why.clone());
        }
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates
            .get(rates.len() / 2)
            .copied()
            .ok_or_else(|| "no rounds".to_owned())
    }

    fn p99(&self) -> Result<Duration, String> {
        if let Some(why) = &self.failure {
            return Err(why.clone());
        }
        let samples = Samples::new(self.latencies.clone());
        Ok(samples.ok_or("no rounds")?.p99())
    }
}

/// One line of the table: the work, and what is to be reached.
struct Line {
    what: &'static str,
    work: Work,
    goal: Goal,
}

/// A line's scores by contender.
type Scores = Vec<(&'static str, Score)>;

const DIRECT: &str = "direct";
const OURS: &str = "R";

fn lines() -> Vec<Line> {
    let line = |what, work, goal| Line { what, work, goal };
    vec![
        line(
            "keep-alive, 16 connections, in tunnels",
            Work::new(Shape::KeptTunnels, 16),
            Goal::AtLeast(0.80),
        ),
        line(
            "keep-alive, 16 connections, each request decided",
            Work::new(Shape::KeptRequests, 16),
            Goal::None,
        ),
        line(
            "a new tunnel per request, 1 at a time",
            Work::new(Shape::NewTunnels, 1),
            Goal::AtLeast(0.30),
        ),
        line(
            "a new tunnel per request, 16 at a time",
            Work::new(Shape::NewTunnels, 16),
            Goal::AtLeast(0.45),
        ),
        line(
            "one large body, in a tunnel",
            Work::new(Shape::LargeBody, 1),
            Goal::AtLeast(0.85),
        ),
        line(
            "one large body, decided",
            Work::new(Shape::LargeBodyRequest, 1),
            Goal::None,
        ),
        line(
            "request and answer in two pieces each, 1 connection",
            Work::new(Shape::InPieces, 1),
            Goal::None,
        ),
    ]
}

/// All of it.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let scene = Scene::make(0)?;
    let mut rows = match measure_proxies(arguments, scene.home().as_path()) {
        Ok(rows) => rows,
        Err(why) => vec![Row::failed("the proxy", Unit::Ratio, Goal::None, why)],
    };
    rows.extend(sessions::measure(arguments, &scene)?);
    Ok(rows)
}

fn measure_proxies(arguments: &Arguments, scratch: &Path) -> Result<Vec<Row>, String> {
    let origin = origin::start()?;
    let served = start(origin, scratch)?;
    let contenders = contenders(origin, &served);
    let rounds = arguments.repetitions(15, 2);
    let length = Duration::from_millis(u64::try_from(arguments.repetitions(300, 40)).unwrap_or(40));
    let measured: Vec<Scores> = lines()
        .iter()
        .map(|line| run_line(&line.work, &contenders, rounds, length))
        .collect();
    Ok(lines()
        .iter()
        .zip(&measured)
        .flat_map(|(line, scores)| rows_of(line, scores))
        .collect())
}

/// Every proxy that can be started here.
fn start(origin: SocketAddr, scratch: &Path) -> Result<Vec<Served>, String> {
    let mut served = vec![
        serve::start(serve::Kind::Ours, origin)?,
        serve::start(serve::Kind::Relay, origin)?,
    ];
    served.extend(peers::start_installed(scratch)?);
    Ok(served)
}

fn contenders(origin: SocketAddr, served: &[Served]) -> Vec<Contender> {
    let mut all = vec![Contender {
        name: DIRECT,
        tunnel: Route::Direct(origin),
        request: Some(Route::Direct(origin)),
    }];
    for proxy in served {
        let authority = match proxy.name {
            OURS => format!("{ORIGIN_NAME}:{}", origin.port()),
            _ => origin.to_string(),
        };
        let (tunnel, request) = match proxy.name {
            serve::RELAY => (Route::Direct(proxy.address), None),
            _ => (
                Route::Tunnel(proxy.address, authority.clone()),
                Some(Route::Request(proxy.address, authority)),
            ),
        };
        all.push(Contender {
            name: proxy.name,
            tunnel,
            request,
        });
    }
    all
}

/// One shape of work: a round for nothing, then those that count.
fn run_line(work: &Work, contenders: &[Contender], rounds: usize, length: Duration) -> Scores {
    let mut scores = Scores::new();
    let able: Vec<(&Contender, &Route)> = contenders
        .iter()
        .filter_map(|contender| {
            let route = if work.shape.is_request() {
                contender.request.as_ref()
            } else {
                Some(&contender.tunnel)
            };
            Some((contender, route?))
        })
        .collect();
    for (contender, _) in &able {
        scores.push((contender.name, Score::default()));
    }
    for round in 0..=rounds {
        for ((_, route), (_, score)) in able.iter().zip(&mut scores) {
            if score.failure.is_some() {
                continue;
            }
            match load::run(work, route, length) {
                Ok(_) if round == 0 => {}
                Ok(done) => {
                    score.rates.push(done.rate);
                    score.latencies.extend(done.latencies);
                }
                Err(why) => score.failure = Some(why),
            }
        }
    }
    scores
}

/// The rows of one line: ours ÷ direct with its goal, the others ÷ direct without, and what we add at the slow end.
fn rows_of(line: &Line, scores: &Scores) -> Vec<Row> {
    let direct = find(scores, DIRECT).and_then(Score::rate);
    let mut rows = Vec::new();
    for (name, score) in scores.iter().filter(|(name, _)| *name != DIRECT) {
        let goal = if *name == OURS { line.goal } else { Goal::None };
        let what = format!("{}: {name} ÷ direct", line.what);
        let pair = direct
            .clone()
            .and_then(|direct| Ok((score.rate()?, direct)));
        rows.push(match pair {
            Ok((own, direct)) => {
                let unit = line.work.shape.unit();
                let detail = format!("{own:.0} and {direct:.0} {unit}");
                Row::new(&what, Unit::Ratio, goal, Some(own / direct), detail)
            }
            Err(why) => Row::failed(&what, Unit::Ratio, goal, why),
        });
    }
    if !line.work.shape.is_bulk() {
        rows.push(added(line, scores));
    }
    rows
}

fn added(line: &Line, scores: &Scores) -> Row {
    let what = format!("{}: p99 added", line.what);
    let goal = Goal::AtMost(3.0);
    let pair = find(scores, OURS)
        .and_then(Score::p99)
        .and_then(|own| Ok((own, find(scores, DIRECT)?.p99()?)));
    match pair {
        Ok((own, direct)) => {
            let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
            let others: Vec<String> = scores
                .iter()
                .filter(|(name, _)| ![DIRECT, OURS].contains(name))
                .filter_map(|(name, score)| {
                    Some(format!(
                        ", {name} {:.2} ms",
                        milliseconds(score.p99().ok()?)
                    ))
                })
                .collect();
            let detail = format!(
                "R {:.2} ms, direct {:.2} ms{}",
                milliseconds(own),
                milliseconds(direct),
                others.concat()
            );
            let value = milliseconds(own) - milliseconds(direct);
            Row::new(&what, Unit::Milliseconds, goal, Some(value), detail)
        }
        Err(why) => Row::failed(&what, Unit::Milliseconds, goal, why),
    }
}

fn find<'a>(scores: &'a Scores, name: &str) -> Result<&'a Score, String> {
    let found = scores.iter().find(|(contender, _)| *contender == name);
    found
        .map(|(_, score)| score)
        .ok_or_else(|| format!("{name} was not measured"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_carries_every_shape_and_a_stranger_none() {
        let address = origin::start().unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = gone.local_addr().unwrap();
        drop(gone);
        let contender = |name, address| Contender {
            name,
            tunnel: Route::Direct(address),
            request: Some(Route::Direct(address)),
        };
        let contenders = [contender(DIRECT, address), contender(OURS, nobody)];
        for line in lines() {
            let scores = run_line(&line.work, &contenders, 1, Duration::from_millis(20));
            let rate = |name| find(&scores, name).and_then(Score::rate);
            assert!(rate(DIRECT).unwrap() > 0.0, "{}", line.what);
            assert!(rate(OURS).is_err(), "{}", line.what);
        }
    }
}
