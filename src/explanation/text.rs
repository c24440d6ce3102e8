//! Explanations for people.

use std::fmt;

use super::{
    Dialled, ExplainedConnection, ExplainedHead, ExplainedRefusal, Explanation, Explanations,
    LiveState, LiveToken, LiveUpstream,
};

/// Where what is said begins, behind the name of what it is about.
const INDENT: usize = 14;

impl fmt::Display for Explanations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, explanation) in self.explanations.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{explanation}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listener = &self.listener;
        line(
            f,
            "listener",
            format!(
                "{} ({}, {})",
                listener.name, listener.kind, listener.address
            ),
        )?;
        line(f, "asked", &self.asked)?;
        for remark in &self.remarks {
            line(f, "remark", remark)?;
        }
        if let Some(caller) = &self.caller {
            line(
                f,
                "caller",
                format!("{}, by its {}", caller.name, caller.by),
            )?;
        }
        if let Some(connection) = self.connection {
            line(f, "connection", connection)?;
        }
        if let Some(route) = &self.route {
            let mut said = route.route.clone();
            if route.implied {
                said += ", an own name of the upstream";
            }
            if !route.methods.is_empty() {
                said += &format!(", for {}", route.methods.join(", "));
            }
            if let Some(listener) = &route.listener {
                said += &format!(", for the listener {listener}");
            }
            line(f, "route", said)?;
        }
        for lost in &self.lost {
            line(
                f,
                "not",
                format!("{} (to {}): {}", lost.route, lost.upstream, lost.reason),
            )?;
        }
        if let Some(rule) = &self.rule {
            line(
                f,
                "egress rule",
                format!("{} is \"{}\"", rule.rule, rule.action),
            )?;
        }
        if let Some(reported) = &self.reported {
            line(
                f,
                "reported",
                format!("{reported} would refuse it, and `enforcement` is \"report\""),
            )?;
        }
        if let Some(upstream) = &self.upstream {
            line(
                f,
                "upstream",
                match &upstream.name {
                    Some(name) => format!("{name}, {}", upstream.url),
                    None => format!("{}, which no upstream names", upstream.url),
                },
            )?;
            let is_refused = self.refused.is_some() || self.inside.is_some();
            match self.credential.as_deref() {
                Some(credential) => line(f, "credential", credential)?,
                // It may not have come so far.
                None if is_refused => {}
                None => line(f, "credential", "none: it goes without a token")?,
            }
        }
        if let Some(dialled) = &self.dialled {
            line(f, "dialled", dialled)?;
        }
        if let Some(sent) = &self.sent {
            write!(f, "{sent}")?;
        }
        for limit in &self.limits {
            let used = limit
                .in_use
                .map_or_else(String::new, |used| format!(", {used} in use"));
            let left = limit
                .left
                .map_or_else(String::new, |left| format!(", {left} left now"));
            let takes = limit.takes.map_or(
                "",
                |_| "; the CONNECT takes one, and the request inside of it another",
            );
            line(
                f,
                "limit",
                format!(
                    "{} of the {}: {}{used}{left}{takes}",
                    limit.key, limit.of, limit.limit
                ),
            )?;
        }
        if let Some(state) = &self.state {
            write!(f, "{state}")?;
        }
        if let Some(refused) = &self.inside {
            refusal(f, "inside", refused)?;
        }
        match &self.refused {
            Some(refused) => refusal(f, "refused", refused),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ExplainedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PlainHttp => "plain HTTP is served inside of it",
            Self::Intercepted => "TLS is ended inside of it, with a certificate of [interception]",
            Self::InterceptedByName => {
                "TLS is ended inside of it if the handshake names a host that a route leads to; else nothing is read"
            }
            Self::Tunnel => "a tunnel, of which nothing is read here and to which no token is added",
        })
    }
}

impl fmt::Display for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)?;
        if self.tls {
            f.write_str(" with TLS")?;
        }
        match &self.through {
            Some(proxy) => write!(f, ", through the proxy {proxy}")?,
            None => f.write_str(", directly")?,
        }
        match &self.judged {
            Some(judged) => write!(f, "; {judged}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ExplainedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "sent", format!("{} {}", self.method, self.target))?;
        for (name, value) in &self.headers {
            line(f, "", format!("{name}: {value}"))?;
        }
        if self.removed.is_empty() {
            return Ok(());
        }
        line(
            f,
            "not passed",
            format!("{} of the client", self.removed.join(", ")),
        )
    }
}

impl fmt::Display for LiveState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "snapshot", self.generation)?;
        if let Some(token) = &self.token {
            line(f, "token", token)?;
        }
        match &self.upstream {
            Some(upstream) => line(f, "now", upstream),
            None => Ok(()),
        }
    }
}

impl fmt::Display for LiveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.usable, self.usable_for) {
            (true, Some(seconds)) => write!(f, "there is one, for {seconds} s more")?,
            (true, None) => f.write_str("there is one")?,
            (false, _) => f.write_str("there is none that may be sent")?,
        }
        write!(f, " ({})", self.phase)?;
        if self.quarantined {
            f.write_str("; the upstream has rejected it, and another is being fetched")?;
        }
        match &self.last_error {
            Some(error) => write!(f, "; last error: {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for LiveUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, most) = (self.connections, self.max_connections);
        write!(f, "{open} of {most} connections are open")?;
        f.write_str(match self.reachable {
            Some(true) => ", the last attempt to connect succeeded",
            Some(false) => ", the last attempt to connect failed",
            None => ", nothing has connected to it yet",
        })?;
        if self.rejects_fresh_tokens {
            f.write_str("; it rejects fresh tokens")?;
        }
        Ok(())
    }
}

fn refusal(f: &mut fmt::Formatter<'_>, name: &str, refused: &ExplainedRefusal) -> fmt::Result {
    let ExplainedRefusal {
        error,
        status,
        detail,
        cause,
        change,
    } = refused;
    line(f, name, format!("{status} {error}: {detail}"))?;
    if let Some(cause) = cause {
        line(f, "because", cause)?;
    }
    match change {
        Some(change) => line(f, "change", change),
        None => Ok(()),
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, said: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<INDENT$}{said}")
}
