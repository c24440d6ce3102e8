use insta::assert_snapshot;

use super::*;

const REST: [&str; 3] = [LISTENER, UPSTREAM, CREDENTIAL];

fn refused_with_rest(text: &str) -> String {
    refused(&[&[text], &REST[..]].concat())
}

#[test]
fn wrong_types_are_named() {
    let text = r#"
admin = "127.0.0.1:7090"

[server]
workers = "4"
drain_timeout = 30
max_header_bytes = 65536
via = "yes"

[[routes]]
methods = "GET"
upstream = ["crm"]
host = 1.5
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: wrong type of `admin` in the file
      --> sidebearer.toml:2:9
       |
     2 | admin = "***"
       |         ^^^^^ expected a table, found a string

    error: wrong type of `workers` in [server]
      --> sidebearer.toml:5:11
       |
     5 | workers = "4"
       |           ^^^ expected a whole number from 0 to 1024, found a string

    error: wrong type of `drain_timeout` in [server]
      --> sidebearer.toml:6:17
       |
     6 | drain_timeout = 30
       |                 ^^ expected a duration such as "30s", "500ms" or "1m30s", found an integer

    error: wrong type of `max_header_bytes` in [server]
      --> sidebearer.toml:7:20
       |
     7 | max_header_bytes = 65536
       |                    ^^^^^ expected a size such as "64KiB", "1MiB" or "512B", found an integer

    error: wrong type of `via` in [server]
      --> sidebearer.toml:8:7
       |
     8 | via = "yes"
       |       ^^^^^ expected true or false, found a string

    error: wrong type of `methods` in [[routes]]
       --> sidebearer.toml:11:11
        |
     11 | methods = "GET"
        |           ^^^^^ expected an array of strings, found a string

    error: wrong type of `upstream` in [[routes]]
       --> sidebearer.toml:12:12
        |
     12 | upstream = ["crm"]
        |            ^^^^^^^ expected a string, found an array

    error: wrong type of `host` in [[routes]]
       --> sidebearer.toml:13:8
        |
     13 | host = 1.5
        |        ^^^ expected a host name or "*.example.com", found a float
    "##);
}

#[test]
fn section_of_the_wrong_shape_is_refused() {
    let text = "routes = [1]\n[listeners]\naddress = \"127.0.0.1:7080\"\n[[upstreams]]\nurl = \"https://a\"\n";
    assert_snapshot!(refused(&[text]), @r##"
    error: wrong type of `routes` in the file
      --> sidebearer.toml:1:11
       |
     1 | routes = [***]
       |           ^^^ expected tables, each under [[routes]], found an integer

    error: wrong type of `listeners` in the file
      --> sidebearer.toml:2:1
       |
     2 | [listeners]
       | ^^^^^^^^^^^ expected tables, each under [[listeners]], found a table

    error: wrong type of `upstreams` in the file
      --> sidebearer.toml:4:1
       |
     4 | [[upstreams]]
       | ^^^^^^^^^^^^^ expected tables, each under [upstreams.NAME], found an array
    "##);
}

#[test]
fn bad_durations_are_refused() {
    let text = r#"
[server]
shutdown_delay = "5"
drain_timeout = "1 minute"
header_timeout = "0s"
idle_timeout = "10000h"
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: invalid `shutdown_delay` in [server]
      --> sidebearer.toml:3:18
       |
     3 | shutdown_delay = "5"
       |                  ^^^ expected a duration such as "30s", "500ms" or "1m30s"

    error: invalid `drain_timeout` in [server]
      --> sidebearer.toml:4:17
       |
     4 | drain_timeout = "1 minute"
       |                 ^^^^^^^^^^ expected a duration such as "30s", "500ms" or "1m30s"

    error: invalid `header_timeout` in [server]
      --> sidebearer.toml:5:18
       |
     5 | header_timeout = "0s"
       |                  ^^^^ expected 1ms to 8760h (a year)

    error: invalid `idle_timeout` in [server]
      --> sidebearer.toml:6:16
       |
     6 | idle_timeout = "10000h"
       |                ^^^^^^^^ expected 1ms to 8760h (a year)
    "##);
}

#[test]
fn bad_sizes_and_numbers_are_refused() {
    let text = r#"
[server]
workers = 2000
max_connections = 0
max_header_bytes = "64kB"

[upstreams.erp]
url = "https://erp.example.com"
replay_buffer = "1GiB"
pool_idle = -1
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: invalid `workers` in [server]
      --> sidebearer.toml:3:11
       |
     3 | workers = 2000
       |           ^^^^ expected a whole number from 0 to 1024

    error: invalid `max_connections` in [server]
      --> sidebearer.toml:4:19
       |
     4 | max_connections = 0
       |                   ^ expected a whole number from 1 to 1000000

    error: invalid `max_header_bytes` in [server]
      --> sidebearer.toml:5:20
       |
     5 | max_header_bytes = "64kB"
       |                    ^^^^^^ expected a size such as "64KiB", "1MiB" or "512B"

    warning: upstream `erp` is never used
      --> sidebearer.toml:7:1
       |
     7 | [upstreams.erp]
       | ^^^^^^^^^^^^^^^ no listener and no route names it

    error: invalid `replay_buffer` in [upstreams.erp]
      --> sidebearer.toml:9:17
       |
     9 | replay_buffer = "1GiB"
       |                 ^^^^^^ expected 0B to 64MiB

    error: invalid `pool_idle` in [upstreams.erp]
       --> sidebearer.toml:10:13
        |
     10 | pool_idle = -1
        |             ^^ expected a whole number from 0 to 1000000
    "##);
}

#[test]
fn words_outside_a_choice_are_refused() {
    let text = r#"
[log]
format = "JSON"
level = "verbose"
access = ""
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: invalid `format` in [log]
      --> sidebearer.toml:3:10
       |
     3 | format = "JSON"
       |          ^^^^^^ did you mean `json`?

    error: invalid `level` in [log]
      --> sidebearer.toml:4:9
       |
     4 | level = "verbose"
       |         ^^^^^^^^^ expected "error", "warn", "info", "debug" or "trace"

    error: invalid `access` in [log]
      --> sidebearer.toml:5:10
       |
     5 | access = ""
       |          ^^ expected "off", "errors" or "all"
    "##);
}
