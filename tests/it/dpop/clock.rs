//! An API whose clock is behind ours.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::dpop::{config, judged, status};
use crate::support::api::{Api, unauthorized};
use crate::support::dpop::{Issuer, Referee};
use crate::support::keys::part;
use crate::support::sidebearer::Sidebearer;

/// So much.
const BEHIND: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_proof_is_dated_by_the_clock_of_the_api_that_refuses_it() {
    let (issuer, referee) = (Issuer::start(), Referee::default());
    let theirs = issuer.clone();
    let api = Api::start(move |seen| {
        let date = SystemTime::now() - BEHIND;
        let clock = date.duration_since(UNIX_EPOCH).unwrap().as_secs();
        if part(seen.header("dpop"), 1)["iat"].as_u64().unwrap() <= clock {
            return judged(&theirs, &referee, seen);
        }
        let mut refusal = unauthorized("DPoP error=\"invalid_dpop_proof\"");
        let date = httpdate::fmt_http_date(date).parse().unwrap();
        refusal.headers_mut().insert("date", date);
        refusal
    });
    let sidebearer = Sidebearer::start(&config(&api, &issuer, "", "dpop = true"));
    for seen in [2, 3, 4] {
        assert_eq!(status(&sidebearer, "/x").await, 200);
        assert_eq!(api.seen().len(), seen, "only the first proof is refused");
    }
    assert_eq!(issuer.issued(), 1, "the token was not what was refused");
}
