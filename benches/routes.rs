//! What it costs to find a request's route, and where a CONNECT could lead: the same for ten routes and for 100,000.

use std::hint::black_box;

use http::Method;
use mimalloc::MiMalloc;
use sidebearer::config::{HostPattern, Scheme};
use sidebearer::route::{
    Destination, HostIndex, ImpliedRoute, ImpliedRoutes, RoutePattern, RouteTable,
};
use sidebearer::snapshot::RouteTarget;

/// As in the program: where it puts the table decides how many lines of the cache an entry touches.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const SIZES: [usize; 3] = [10, 1_000, 100_000];

fn main() {
    divan::main();
}

fn table(routes: usize) -> RouteTable<RouteTarget> {
    let paths: Vec<String> = (0..routes).map(|at| format!("/team/{at:06}")).collect();
    RouteTable::build(paths.iter().zip(0..).map(|(path, at)| {
        let pattern = RoutePattern {
            listener: None,
            host: &HostPattern::Any,
            path,
            methods: &[],
        };
        let target = RouteTarget {
            upstream: 0,
            replace_prefix: None,
            route: at,
        };
        (pattern, target)
    }))
}

/// Requests below the prefix of one route after the other, in no order, so that no cache knows
/// which comes next. They are made without a look at anything as large as the table, which would
/// leave less of it in the caches than the requests before have.
#[divan::bench(args = SIZES, sample_size = 1000)]
fn hit(bencher: divan::Bencher<'_, '_>, routes: usize) {
    let table = table(routes);
    let mut random = fastrand::Rng::with_seed(7);
    bencher
        .with_inputs(|| format!("/team/{:06}/orders/17", random.usize(..routes)))
        .bench_local_refs(|path| {
            let found = table.find(0, "crm.example.com", black_box(path), &Method::GET);
            found.map(|found| found.value.route)
        });
}

/// Requests that no route matches.
#[divan::bench(args = SIZES)]
fn miss(bencher: divan::Bencher<'_, '_>, routes: usize) {
    let table = table(routes);
    let path = "/nobody/has/this/prefix";
    bencher.bench_local(|| {
        let found = table.find(0, "crm.example.com", black_box(path), &Method::GET);
        found.map(|found| found.value.route)
    });
}

/// The routes that could lead to the host of a CONNECT, each route for a host of its own.
#[divan::bench(args = [1, 10_000, 100_000], sample_size = 1000)]
fn connect_by_hosts(bencher: divan::Bencher<'_, '_>, routes: usize) {
    let hosts: Vec<_> = (0..routes)
        .map(|at| HostPattern::Exact(format!("h{at}.example.com").into()))
        .collect();
    let index = HostIndex::build(hosts.iter().map(|host| (host, 0)));
    let mut random = fastrand::Rng::with_seed(7);
    bencher
        .with_inputs(|| format!("h{}.example.com", random.usize(..routes)))
        .bench_local_refs(|host| index.first_of_each(black_box(host)).len());
}

/// The same where all routes are for one host, with paths of their own, and lead to the same upstream.
#[divan::bench(args = [1, 10_000, 100_000], sample_size = 1000)]
fn connect_by_paths(bencher: divan::Bencher<'_, '_>, routes: usize) {
    let host = HostPattern::Exact("crm.example.com".into());
    let index = HostIndex::build((0..routes).map(|_| (&host, 0)));
    bencher.bench_local(|| index.first_of_each(black_box("crm.example.com")).len());
}

/// The upstreams that have the host of a CONNECT as an own name.
#[divan::bench(args = [1, 3_000, 100_000], sample_size = 1000)]
fn connect_by_own_names(bencher: divan::Bencher<'_, '_>, upstreams: u32) {
    let implied = (0..upstreams).map(|at| ImpliedRoute {
        listener: 0,
        destination: (Scheme::Https, format!("u{at}.example.com"), 443),
        path: "/",
        upstream: at,
    });
    let implied = ImpliedRoutes::build(implied);
    let mut random = fastrand::Rng::with_seed(7);
    bencher
        .with_inputs(|| format!("u{}.example.com", random.u32(..upstreams)))
        .bench_local_refs(|host| {
            let (scheme, port) = (Scheme::Https, 443);
            let destination = Destination { scheme, host, port };
            implied.at(0, black_box(destination)).count()
        });
}
