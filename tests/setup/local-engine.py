"""Starts MiniStack, the local AWS, the way this project needs it.

Six things differ from its own start. AWS is only ever spoken to over TLS, and the bucket's policy
refuses anything else; here requests cross the loopback in plain HTTP, so they are counted as TLS.
A Function URL hands the bytes on as they were sent, base64-encoded where they are no text; MiniStack
would inflate gzip and replace what is not UTF-8, and no signature over such a body would be right.
A permission for schedules names their group, which MiniStack always takes for the default one.
Schedules are looked at every second instead of every ten, so that nobody waits for timers of seconds.
An alarm over several metrics, which MiniStack does not know, stands for its first metric: its queues
give alarms no data anyway.
And with --end-with-stdin it ends, with every function process it started, as soon as whoever
started it is gone, however that one ended.
"""

import base64
import json
import os
import signal
import sys
import threading

import ministack.app
import ministack.core.iam_actions as iam_actions
import ministack.services.cloudformation.provisioners as provisioners
import ministack.services.lambda_svc as lambda_svc
import ministack.services.scheduler as scheduler


def count_requests_as_tls():
    """Makes the condition key aws:SecureTransport true, as it is for any client of AWS."""
    pin = getattr(ministack.app, "pin_request_origin", None)
    if pin is None:
        sys.exit(
            "This release of MiniStack pins the origin of a request elsewhere, so requests cannot be "
            "counted as TLS. Use the release pinned in tests/setup/engine-requirements.txt."
        )
    ministack.app.pin_request_origin = lambda source_address, _secure: pin(source_address, True)


def hand_bodies_to_functions_as_they_were_sent():
    """Makes Function URLs leave compressed and binary bodies alone."""
    decompress = getattr(ministack.app, "_decompress_request_body", None)
    build_event = getattr(lambda_svc, "_build_function_url_event", None)
    if decompress is None or build_event is None:
        sys.exit(
            "This release of MiniStack handles the bodies of Function URLs elsewhere, so they cannot be "
            "handed on unchanged. Use the release pinned in tests/setup/engine-requirements.txt."
        )

    def decompress_elsewhere(body, headers):
        is_function_url = ".lambda-url." in headers.get("host", "")
        return body if is_function_url else decompress(body, headers)

    def build_event_with_bytes(*arguments, **named):
        event = build_event(*arguments, **named)
        headers = named.get("headers", arguments[5] if len(arguments) > 5 else {})
        body = named.get("body", arguments[6] if len(arguments) > 6 else b"")
        if body and (headers.get("content-encoding") or not is_utf8(body)):
            event["body"] = base64.b64encode(body).decode("ascii")
            event["isBase64Encoded"] = True
        return event

    ministack.app._decompress_request_body = decompress_elsewhere
    lambda_svc._build_function_url_event = build_event_with_bytes


def take_alarms_over_several_metrics():
    """Makes an alarm with metric math one over the first of its metrics."""
    record = getattr(provisioners, "_cw_metric_alarm_record", None)
    if record is None:
        sys.exit(
            "This release of MiniStack makes alarms elsewhere, so alarms over several metrics cannot be "
            "deployed. Use the release pinned in tests/setup/engine-requirements.txt."
        )

    def record_of_one_metric(name, properties):
        metrics = [metric["MetricStat"] for metric in properties.get("Metrics") or [] if "MetricStat" in metric]
        if metrics:
            properties = {key: value for key, value in properties.items() if key != "Metrics"}
            properties.update(metrics[0]["Metric"], Statistic=metrics[0]["Stat"], Period=metrics[0]["Period"])
        return record(name, properties)

    provisioners._cw_metric_alarm_record = record_of_one_metric


def permit_schedules_by_their_group():
    """Makes IAM judge a schedule by the group that the request names, as AWS does."""
    extract = getattr(iam_actions, "extract_resource_arn", None)
    if extract is None:
        sys.exit(
            "This release of MiniStack names resources elsewhere, so permissions for schedules cannot be "
            "judged. Use the release pinned in tests/setup/engine-requirements.txt."
        )

    def extract_with_group(service, method, path, headers, body, query_params, *arguments, **named):
        arn = extract(service, method, path, headers, body, query_params, *arguments, **named)
        if service != "scheduler" or ":schedule/default/" not in str(arn):
            return arn
        group = query_params.get("groupName") or ["default"]
        group = group[0] if isinstance(group, list) else group
        try:
            group = json.loads(body).get("GroupName", group)
        except ValueError:
            pass
        return arn.replace(":schedule/default/", f":schedule/{group}/")

    iam_actions.extract_resource_arn = extract_with_group


def look_at_schedules_every_second():
    """Makes a one-time schedule fire within a second of its time."""
    if not hasattr(scheduler, "_SCHEDULE_TICK_INTERVAL"):
        sys.exit(
            "This release of MiniStack looks at schedules in another way, so timers would be late. Use the "
            "release pinned in tests/setup/engine-requirements.txt."
        )
    scheduler._SCHEDULE_TICK_INTERVAL = 1


def is_utf8(body):
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def end_with_stdin():
    """Ends the whole process group once standard input closes."""
    sys.stdin.buffer.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.argv = sys.argv[:1]
    count_requests_as_tls()
    hand_bodies_to_functions_as_they_were_sent()
    take_alarms_over_several_metrics()
    permit_schedules_by_their_group()
    look_at_schedules_every_second()
    if "--end-with-stdin" in arguments:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    ministack.app.main()
