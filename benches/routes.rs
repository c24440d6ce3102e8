//! What it costs to find a request's route: the same for ten routes and for 100,000.

use std::hint::black_box;

use http::Method;
use mimalloc::MiMalloc;
use sidebearer::config::HostPattern;
use sidebearer::route::{RoutePattern, RouteTable};
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
