//! What requests take that stand inside of a CONNECT, or of TLS that is ended here, as far as it is known without their paths.

use http::Method;

use super::lost;
use super::steps::Steps;
use super::stop::{Stop, unless};
use crate::explanation::LostRoute;
use crate::policy::CallerIndex;
use crate::proxy::destination;
use crate::proxy::permit;
use crate::proxy::route_taken::RouteTaken;
use crate::route::Destination;
use crate::snapshot::Snapshot;

impl Steps<'_> {
    /// Shows the first route that the caller may take there, and names the others. What refuses every request is shown apart from
    /// what becomes of the connection.
    pub(super) fn show_inside(
        &mut self,
        destination: Destination<'_>,
        caller: Option<CallerIndex>,
    ) {
        let (snapshot, listener) = (self.snapshot, self.listener);
        let ways = ways(snapshot, listener, destination);
        let may = |taken: &&RouteTaken<'_>| {
            let upstream = &snapshot.upstreams[taken.upstream as usize];
            permit::judge_route(snapshot, listener, taken.route, caller).is_ok()
                && permit::judge_credentials(upstream, caller).is_ok()
        };
        let Some(taken) = ways.iter().find(may).or(ways.first()) else {
            return;
        };
        self.show_route(taken);
        let others = ways.iter().filter(|other| other.route != taken.route);
        let others = others.map(|other| LostRoute {
            reason: "requests inside take it if they have its path and method: give the whole URL to see which"
                .to_owned(),
            ..lost::named(snapshot, other)
        });
        self.shown.lost.extend(others);
        if let Err(Stop::Refused(error, change)) = self.try_inside(taken, caller) {
            self.shown.inside = Some(Self::refusal(&error, change));
        }
    }

    fn try_inside(
        &mut self,
        taken: &RouteTaken<'_>,
        caller: Option<CallerIndex>,
    ) -> Result<(), Stop> {
        let snapshot = self.snapshot;
        let upstream = &*snapshot.upstreams[taken.upstream as usize];
        permit::judge_route(snapshot, self.listener, taken.route, caller)
            .map_err(unless("`callers` of the route"))?;
        let injection = self.choose_injection(upstream, caller)?;
        self.show_state(upstream, injection);
        self.dial(upstream, false)
    }
}

/// The routes that lead to a destination, each of which some request takes.
fn ways<'s>(
    snapshot: &'s Snapshot,
    listener: usize,
    destination: Destination<'s>,
) -> Vec<RouteTaken<'s>> {
    let is_taken = |way: &RouteTaken<'_>| {
        let path = lost::path_of(snapshot, way);
        let written = snapshot.config.routes.get(way.route as usize);
        let methods = written.map_or(&[][..], |route| &route.methods);
        let any = [Method::GET];
        let mut methods = if methods.is_empty() { &any } else { methods }.iter();
        methods.any(|method| {
            let found =
                destination::route_to(snapshot, listener, destination, path, method, |_| true);
            found.is_some_and(|found| found.route == way.route)
        })
    };
    let ways = destination::routes_to(snapshot, listener, destination);
    ways.filter(is_taken).collect()
}
