//! The lines to the store and to the database break, at the level of TCP.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use crate::common::agent::{Agent, noise};
use crate::common::wire::{Mode, Wire};
use crate::trial::{self, Findings, Trial};
use crate::{Case, cases};

pub(crate) fn cases() -> Vec<Case> {
    let mut all = cases!["the line to S3":
        "connections are refused" => || outage(To::Store, Mode::Refused, "the store can't be reached"),
        "black hole: nothing is answered any more" => || outage(To::Store, Mode::Silent, "the store did not answer in time"),
        "connections are reset in mid-body" => || noticed(To::Store, Mode::Reset(40_000)),
        "slow to a trickle" => || noticed(To::Store, Mode::Trickle(4000)),
        "answers are lost, so that requests are delivered twice" => || deaf(To::Store),
    ];
    all.extend(cases!["the line to PostgreSQL":
        "connections are refused" => || outage(To::Database, Mode::Refused, "use the catalog"),
        "silently dropped: found by a time-out within 30 s" => silent_database,
        "connections are reset in the middle of a statement" => || noticed(To::Database, Mode::Reset(3000)),
        "slow to a trickle" => || noticed(To::Database, Mode::Trickle(10_000)),
        "answers are lost, so that statements are executed twice" => || deaf(To::Database),
    ]);
    all
}

#[derive(Clone, Copy)]
enum To {
    Store,
    Database,
}

/// Puts a line between the program and what it talks to.
async fn between(agent: &mut Agent, to: To) -> Wire {
    match to {
        To::Store => {
            let endpoint = agent.s3.endpoint();
            let wire = Wire::to(endpoint.rsplit(':').next().unwrap().parse().unwrap()).await;
            agent.env.insert("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", wire.port()));
            wire
        }
        To::Database => {
            let settings = agent.db.settings();
            let wire = Wire::to(settings.port).await;
            let password = settings.password.as_ref().unwrap().expose_secret();
            agent.database = Some(format!(
                "host = \"127.0.0.1\"\nport = {}\nname = \"{}\"\nuser = \"{}\"\npassword = \"{password}\"\n",
                wire.port(),
                settings.name,
                settings.user
            ));
            wire
        }
    }
}

/// The folder is degraded, and says this.
async fn outage(to: To, mode: Mode, words: &str) -> Findings {
    let mut agent = trial::agent().await;
    let wire = between(&mut agent, to).await;
    let mut trial = Trial::begin(&agent, None).await;
    wire.set(mode);
    trial.work(40).await;
    let said = trial.until_said("degraded", words).await;
    trial.work(20).await;
    trial.assert_calm().await;
    wire.set(Mode::Open);
    trial.end(wire.injected(), said).await
}

/// It may be an outage, or only slow, as it turns out.
async fn noticed(to: To, mode: Mode) -> Findings {
    let mut agent = trial::agent().await;
    let wire = between(&mut agent, to).await;
    let mut trial = Trial::begin(&agent, None).await;
    wire.set(mode);
    for i in 0..3 {
        agent.write(format!("ours/body {i}"), noise(i, 300_000));
        trial.work(20).await;
    }
    trial.until("the line has broken", async || wire.injected() > 0).await;
    trial.assert_calm().await;
    let folder = trial.world.daemon().folder("files").await;
    let said = match folder["state"].as_str() {
        Some("degraded") => "degraded, with the reason",
        _ => "syncs on",
    };
    wire.set(Mode::Open);
    trial.end(wire.injected(), said.to_owned()).await
}

/// Now and then, all answers that are on their way are lost.
async fn deaf(to: To) -> Findings {
    let mut agent = trial::agent().await;
    let wire = between(&mut agent, to).await;
    let mut trial = Trial::begin(&agent, None).await;
    for i in 0..6 {
        agent.write(format!("ours/body {i}"), noise(i, 100_000));
        wire.set(Mode::Deaf);
        trial.work(15).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        wire.set(Mode::Open);
        trial.work(10).await;
    }
    trial.end(wire.injected(), "asks again; nothing is done twice".to_owned()).await
}

/// Of packets that vanish nobody is told; a time limit must find it.
async fn silent_database() -> Findings {
    let mut agent = trial::agent().await;
    let wire = between(&mut agent, To::Database).await;
    let mut trial = Trial::begin(&agent, None).await;
    wire.set(Mode::Silent);
    let began = std::time::Instant::now();
    trial.work(20).await;
    trial.until_said("degraded", "use the catalog").await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    trial.assert_calm().await;
    wire.set(Mode::Open);
    trial.end(wire.injected(), "degraded in less than 30 s, with the reason".to_owned()).await
}
