//! Parses the output of image builders. Facts from the legacy builder of Docker 20.10.24, from podman 4.3.1, and from
//! the plain progress of BuildKit 0.12, which Apple's builder uses as well.

use super::BuildEvent;

/// Classifies a line of the builder's output.
pub(super) fn event(line: &str) -> BuildEvent<'_> {
    // podman: `STEP 3/9: RUN …`.
    if let Some(step) = line.strip_prefix("STEP ")
        && step
            .split_once(": ")
            .is_some_and(|(count, _)| is_count(count))
    {
        return BuildEvent::Step(step);
    }
    // Legacy: `Step 3/9 : RUN …`.
    if let Some(step) = line.strip_prefix("Step ")
        && step
            .split_once(" : ")
            .is_some_and(|(count, _)| is_count(count))
    {
        return BuildEvent::Step(step);
    }
    // BuildKit: `#7 [3/9] RUN …` at the start of a step, ` > [3/9] RUN …:` for a failed one.
    let begins = line
        .strip_prefix('#')
        .and_then(|rest| rest.split_once(" ["));
    let began = begins.filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let failed = line.strip_prefix(" > [");
    if let Some(step) = failed.or(began.map(|(_, step)| step))
        && step
            .split_once("] ")
            .is_some_and(|(count, _)| is_count(count.rsplit(' ').next().unwrap_or_default()))
    {
        return BuildEvent::Step(step.trim_end_matches(':'));
    }
    BuildEvent::Line(line)
}

/// `3/9`
fn is_count(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('/')
        .is_some_and(|(step, all)| number(step) && number(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found_in_both_dialects() {
        for (line, step) in [
            ("Step 3/9 : RUN apt-get update", "3/9 : RUN apt-get update"),
            ("STEP 3/9: RUN apt-get update", "3/9: RUN apt-get update"),
            ("#7 [3/9] RUN apt-get update", "3/9] RUN apt-get update"),
            ("#7 [stage-1 3/9] COPY a b", "stage-1 3/9] COPY a b"),
            (" > [3/9] RUN false:", "3/9] RUN false"),
        ] {
            assert_eq!(event(line), BuildEvent::Step(step), "{line}");
        }
        for line in [
            "#7 0.301 Reading package lists...",
            "#1 [internal] load build definition from Dockerfile",
            "Step by step : fine",
            "",
            " ---> Running in 5f5d3d0ec25a",
        ] {
            assert_eq!(event(line), BuildEvent::Line(line));
        }
    }
}
