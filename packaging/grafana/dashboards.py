#!/usr/bin/env python3
"""Writes the dashboards. What each panel asks is here; what Grafana wants around it is in the functions at the top.

    packaging/grafana/dashboards.py           writes dashboards/*.json
    packaging/grafana/dashboards.py --check   fails if they are not what this writes
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
PROMETHEUS = {"type": "prometheus", "uid": "portail-prometheus"}
POSTGRESQL = {"type": "postgres", "uid": "portail-postgresql"}

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"

# Of one of our own series: those of the chosen machines and folders.
HERE_ONLY = 'instance=~"$instance"'
FOLDERS = 'instance=~"$instance", folder=~"$folder"'


def prom(expr, legend="", instant=False, form="time_series"):
    """A query to Prometheus."""
    expr = expr.replace("{F}", "{" + FOLDERS + "}").replace("{F,", "{" + FOLDERS + ", ")
    expr = expr.replace("{I}", "{" + HERE_ONLY + "}").replace("{I,", "{" + HERE_ONLY + ", ")
    query = {"datasource": PROMETHEUS, "editorMode": "code", "expr": expr, "format": form}
    query.update({"instant": True, "range": False} if instant else {"instant": False, "range": True})
    return query | ({"legendFormat": legend} if legend else {})


def now(expr, legend="", form="time_series"):
    """The same, of this moment only."""
    return prom(expr, legend, instant=True, form=form)


def sql(text, form="table"):
    """A query to the catalog."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return {"datasource": POSTGRESQL, "editorMode": "code", "format": form, "rawQuery": True, "rawSql": "\n".join(lines)}


def thresholds(*steps):
    """Colours from values on; the first one has no value."""
    first, *rest = steps
    return {"mode": "absolute", "steps": [{"color": first, "value": None}, *({"color": c, "value": v} for v, c in rest)]}


def words(**of):
    """What numbers are shown as: `_1=("Yes", GREEN)`."""
    options = {n[1:]: {"text": text, "color": colour, "index": i} for i, (n, (text, colour)) in enumerate(of.items())}
    return [{"type": "value", "options": options}]


def panel(kind, title, queries, *, size, unit="", steps=None, mappings=None, options=None, custom=None, about="", **more):
    queries = queries if isinstance(queries, list) else [queries]
    targets = [query | {"refId": chr(ord("A") + i)} for i, query in enumerate(queries)]
    defaults = {"mappings": mappings or [], "thresholds": steps or thresholds(GREEN)}
    defaults |= {"unit": unit} if unit else {}
    defaults |= {"color": {"mode": "thresholds" if kind in ("stat", "bargauge", "state-timeline") else "palette-classic"}}
    defaults |= {"custom": custom} if custom else {}
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": targets[0]["datasource"],
        "gridPos": {"w": size[0], "h": size[1]},
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": options or {},
        "targets": targets,
    } | more


REDUCE = {"calcs": ["lastNotNull"], "fields": "", "values": False}
LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}


def stat(title, query, unit="", **more):
    """One number."""
    options = {"reduceOptions": REDUCE, "colorMode": "background_solid", "graphMode": "none", "textMode": "auto",
               "justifyMode": "auto", "orientation": "auto", "wideLayout": True, "showPercentChange": False,
               "percentChangeColorMode": "standard"}
    more.setdefault("size", (4, 4))
    return panel("stat", title, query, unit=unit, options=options, **more)


def lines(title, query, unit="short", stacked=False, **more):
    """Values over time."""
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 20 if stacked else 5, "showPoints": "never",
              "stacking": {"mode": "normal" if stacked else "none", "group": "A"}}
    options = {"legend": LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}
    more.setdefault("size", (12, 8))
    return panel("timeseries", title, query, unit=unit, custom=custom, options=options, **more)


def table(title, query, units=None, **more):
    """Rows. `units` are those of columns, by name."""
    def of_column(name, unit):
        return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
    overrides = [of_column(name, unit) for name, unit in (units or {}).items()] + more.pop("overrides", [])
    more.setdefault("size", (12, 9))
    return panel("table", title, query, options={"showHeader": True, "cellHeight": "sm", "frameIndex": 0},
                 overrides=overrides, custom={"align": "auto", "cellOptions": {"type": "auto"}}, **more)


def bars(title, query, unit="short", **more):
    """A bar for each row."""
    options = {"reduceOptions": REDUCE | {"values": True, "calcs": []}, "orientation": "horizontal",
               "displayMode": "basic", "showUnfilled": False, "valueMode": "color", "namePlacement": "auto",
               "sizing": "auto", "minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 300, "legend": LEGEND}
    more.setdefault("size", (12, 9))
    return panel("bargauge", title, query, unit=unit, options=options, steps=thresholds(BLUE), **more)


def variable(name, label, metric):
    query = f"label_values({metric}, {name})"
    return {"name": name, "label": label, "type": "query", "datasource": PROMETHEUS, "multi": True, "includeAll": True,
            "allValue": ".*", "refresh": 2, "sort": 1, "query": {"qryType": 1, "query": query, "refId": "variable"},
            "current": {"text": "All", "value": "$__all"}}


def dashboard(uid, title, about, panels, variables=(), since="now-6h"):
    """Places the panels from left to right, in lines of 24 columns."""
    x = y = height = 0
    for i, one in enumerate(panels):
        grid = one["gridPos"]
        if x + grid["w"] > 24:
            x, y, height = 0, y + height, 0
        one["id"] = i + 1
        one["gridPos"] = {"x": x, "y": y, **grid}
        x, height = x + grid["w"], max(height, grid["h"])
    return {
        "uid": f"portail-{uid}", "title": f"agent-portail / {title}", "description": about, "tags": ["agent-portail"],
        "editable": True, "schemaVersion": 41, "version": 1, "timezone": "browser", "refresh": "30s", "graphTooltip": 1,
        "time": {"from": since, "to": "now"}, "templating": {"list": list(variables)}, "annotations": {"list": []},
        "links": [{"title": "agent-portail", "type": "dashboards", "tags": ["agent-portail"], "asDropdown": True,
                   "icon": "external link", "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}],
        "panels": panels,
    }


INSTANCE = variable("instance", "Machine", "agent_portail_build_info")
FOLDER = variable("folder", "Folder", "agent_portail_folder_state")

YES_NO = words(_1=("Yes", GREEN), _0=("No", RED))
UP_DOWN = words(_1=("up", GREEN), _0=("away", RED))
STATES = {"starting": ("starting", GREY), "syncing": ("syncing", BLUE), "in_sync": ("in sync", GREEN),
          "degraded": ("degraded", YELLOW), "suspended": ("suspended", RED)}
STATE_WORDS = words(**{f"_{i}": shown for i, shown in enumerate(STATES.values(), 1)})
STATE = " + ".join(f'{i} * max by (instance, folder) (agent_portail_folder_state{{F, state="{state}"}})' for i, state in enumerate(STATES, 1))
NONE_GOOD = thresholds(GREEN, (1, YELLOW))


def column(expr):
    return now(f"max by (instance, folder) ({expr})", form="table")


OVERVIEW = dashboard("overview", "Overview", "Are my files safe? One row for each folder.", [
    stat("Are my files safe?", now("min(folder:agent_portail_safe:bool{F})"), mappings=YES_NO, size=(4, 5),
         about="Yes while every change of the last minute but one is in S3 and in the catalog, and nothing is held, has failed or is damaged."),
    stat("Longest wait", now("max(agent_portail_oldest_pending_seconds{F})"), "s", size=(4, 5),
         steps=thresholds(GREEN, (60, YELLOW), (300, RED)), about="Of the oldest change that is not synced yet."),
    stat("Visible within (95 %)", now("max(histogram_quantile(0.95, sum by (instance, le) (rate(agent_portail_visible_latency_seconds_bucket{I}[1h]))))"),
         "s", size=(4, 5), steps=thresholds(GREEN, (30, YELLOW), (300, RED)), about="From a change to its row, in the last hour."),
    stat("Held deletions", now("sum(agent_portail_held_deletes{F})"), size=(3, 5), steps=NONE_GOOD),
    stat("Failed files", now("sum(agent_portail_failed_files{F})"), size=(3, 5), steps=NONE_GOOD),
    stat("S3", now("min(agent_portail_s3_up{I})"), mappings=UP_DOWN, size=(3, 5)),
    stat("Catalog", now("min(agent_portail_catalog_up{I})"), mappings=UP_DOWN, size=(3, 5)),
    table("Folders", [
        column("folder:agent_portail_safe:bool{F}"),
        column(STATE),
        column("agent_portail_oldest_pending_seconds{F}"),
        column("time() - (agent_portail_reconcile_last_success_timestamp_seconds{F} > 0)"),
        column("agent_portail_held_deletes{F}"),
        column("agent_portail_failed_files{F}"),
        column("agent_portail_damaged_files{F}"),
        now("round(sum by (instance, folder) (increase(agent_portail_drift_found_total{F}[24h])))", form="table"),
        column("agent_portail_files{F}"),
        column("agent_portail_bytes{F}"),
    ], size=(24, 8), transformations=[
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {
            "instance": "machine", "Value #A": "safe", "Value #B": "state", "Value #C": "waits", "Value #D": "reconciled",
            "Value #E": "held", "Value #F": "failed", "Value #G": "damaged", "Value #H": "drift (24 h)",
            "Value #I": "files", "Value #J": "bytes"}}},
    ], units={"waits": "s", "reconciled": "s", "bytes": "bytes"}, overrides=[
        {"matcher": {"id": "byName", "options": name}, "properties": [
            {"id": "mappings", "value": mappings},
            {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}}]}
        for name, mappings in (("safe", YES_NO), ("state", STATE_WORDS))
    ]),
    panel("state-timeline", "State", prom(STATE, "{{folder}} ({{instance}})"), size=(24, 6), mappings=STATE_WORDS,
          options={"showValue": "auto", "rowHeight": 0.8, "mergeValues": True, "alignValue": "left", "legend": LEGEND,
                   "tooltip": {"mode": "single", "sort": "none"}}),
    lines("Longest wait of a change", prom("agent_portail_oldest_pending_seconds{F}", "{{folder}} ({{instance}})"), "s"),
    lines("From a change to its row", [
        prom("instance:agent_portail_visible_latency_seconds:p50_5m{I}", "half, {{instance}}"),
        prom("instance:agent_portail_visible_latency_seconds:p95_5m{I}", "95 %, {{instance}}"),
        prom("instance:agent_portail_visible_latency_seconds:p99_5m{I}", "99 %, {{instance}}"),
    ], "s"),
    lines("Drift by cause", prom("sum by (folder, cause) (increase(agent_portail_drift_found_total{F}[$__rate_interval]))", "{{folder}}: {{cause}}")),
    table("Alerts that fire", prom('max by (alertname, severity, instance, folder) (ALERTS{alertstate="firing", alertname=~"AgentPortail.*|CertificateExpires|DiskNearlyFull"})', form="table"),
          size=(12, 8), about="In the time that is shown."),
], [INSTANCE, FOLDER])

PIPELINE = dashboard("pipeline", "Pipeline", "What is being done, how fast, and what it costs.", [
    stat("S3 requests a month", now("sum(instance:agent_portail_s3_requests_month:dollars{I})"), "currencyUSD", size=(6, 4), steps=thresholds(BLUE),
         about="At the rate of the last hour and the list prices in packaging/prometheus/rules/recording.yml."),
    stat("Queue", now("max(agent_portail_queue_depth{F} / agent_portail_queue_capacity{F})"), "percentunit", size=(6, 4), steps=thresholds(GREEN, (0.5, YELLOW), (0.8, RED)),
         about="Of the fullest folder."),
    stat("Answers of S3 that fail", now("max(instance:agent_portail_s3_errors:ratio_rate5m{I})"), "percentunit", size=(6, 4), steps=thresholds(GREEN, (0.01, YELLOW), (0.1, RED))),
    stat("Memory", now("max(process_resident_memory_bytes{I, job=\"agent-portail\"})"), "bytes", size=(6, 4), steps=thresholds(BLUE)),
    lines("Paths that wait", prom("agent_portail_queue_depth{F}", "{{folder}} ({{instance}})")),
    lines("Done", prom("sum by (kind) (rate(agent_portail_operations_total{F, outcome=\"done\"}[$__rate_interval]))", "{{kind}}"), "ops", stacked=True),
    lines("Failed, and to be tried again", prom("sum by (kind, outcome) (rate(agent_portail_operations_total{F, outcome!=\"done\"}[$__rate_interval]))", "{{kind}} {{outcome}}"), "ops"),
    lines("Sent to S3", prom("sum by (folder) (rate(agent_portail_uploaded_bytes_total{F}[$__rate_interval]))", "{{folder}}"), "Bps", stacked=True),
    panel("heatmap", "From a change to its row", prom("sum by (le) (increase(agent_portail_visible_latency_seconds_bucket{I}[$__rate_interval]))", "{{le}}", form="heatmap"), size=(12, 8),
          options={"calculate": False, "yAxis": {"unit": "s"}, "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "reverse": False},
                   "cellGap": 1, "legend": {"show": True}, "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
                   "exemplars": {"color": "rgba(255,0,255,0.7)"}, "showValue": "never", "filterValues": {"le": 1e-9}, "rowsFrame": {"layout": "auto"}}),
    lines("Duration (95 %)", prom("histogram_quantile(0.95, sum by (kind, le) (rate(agent_portail_operation_seconds_bucket{I}[$__rate_interval])))", "{{kind}}"), "s"),
    lines("S3 requests by operation", prom("sum by (operation) (rate(agent_portail_s3_requests_total{I}[$__rate_interval])) > 0", "{{operation}}"), "reqps", stacked=True),
    lines("S3 requests by code", prom("sum by (code) (rate(agent_portail_s3_requests_total{I}[$__rate_interval])) > 0", "{{code}}"), "reqps", stacked=True),
    lines("Reconciliation: duration", prom("rate(agent_portail_reconcile_seconds_sum{I}[1h]) / (rate(agent_portail_reconcile_seconds_count{I}[1h]) > 0)", "{{instance}}"), "s"),
    lines("Reconciliation: time since the last", prom("time() - (agent_portail_reconcile_last_success_timestamp_seconds{F} > 0)", "{{folder}} ({{instance}})"), "s"),
    lines("Watches", prom("agent_portail_watches{F}", "{{folder}} ({{instance}})")),
    lines("Lost events", prom("increase(agent_portail_watch_overflows_total{F}[$__rate_interval])", "{{folder}} ({{instance}})")),
    lines("Clock, ahead of S3's", prom("agent_portail_s3_clock_ahead_seconds{I}", "{{instance}}"), "s"),
    lines("Notifications", prom("sum by (webhook, outcome) (increase(agent_portail_notifications_total{I}[$__rate_interval]))", "{{webhook}} {{outcome}}")),
    lines("Processor", prom("rate(process_cpu_seconds_total{I, job=~\"agent-portail|urls-generator\"}[$__rate_interval])", "{{job}} ({{instance}})"), "percentunit"),
    lines("Descriptors", prom("process_open_fds{I, job=~\"agent-portail|urls-generator\"}", "{{job}} ({{instance}})")),
], [INSTANCE, FOLDER])

CATALOG = dashboard("catalog", "Catalog", "What the catalog says, in SQL.", [
    table("Folders", sql("""
        SELECT f.name, f.agent, f.state, f.state_reason AS reason, f.state_since AS since, f.last_reconciled_at AS reconciled,
        n.files, n.bytes, n.failed, n.kept
        FROM portail.folder f CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE etag IS NOT NULL) AS files, coalesce(sum(size) FILTER (WHERE etag IS NOT NULL), 0) AS bytes,
        count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'kept') AS kept
        FROM portail.file WHERE folder_id = f.id) n
        ORDER BY f.name"""), size=(24, 6), units={"bytes": "bytes"}),
    lines("Uploaded", sql("""
        SELECT date_trunc('hour', e.at) AS time, f.name AS metric, sum(e.size)::bigint AS value
        FROM portail.event e JOIN portail.folder f ON f.id = e.folder_id
        WHERE $__timeFilter(e.at) AND e.kind = 'uploaded' GROUP BY 1, 2 ORDER BY 1""", form="time_series"), "bytes", stacked=True,
        about="Bytes an hour."),
    lines("What has happened", sql("""
        SELECT date_trunc('hour', at) AS time, kind AS metric, count(*) AS value
        FROM portail.event WHERE $__timeFilter(at) GROUP BY 1, 2 ORDER BY 1""", form="time_series"), stacked=True, about="Events an hour."),
    lines("Growth", sql("""
        SELECT time, metric, sum(grown) OVER (PARTITION BY metric ORDER BY time)::bigint AS value FROM (
        SELECT date_trunc('hour', i.synced_at) AS time, f.name AS metric, sum(i.size) AS grown
        FROM portail.file i JOIN portail.folder f ON f.id = i.folder_id WHERE i.etag IS NOT NULL GROUP BY 1, 2) hours
        ORDER BY 1""", form="time_series"), "bytes", about="Bytes of today's files, by when each was synced last."),
    bars("Types", sql("""
        SELECT coalesce(lower(substring(name FROM '\\.([[:alnum:]]{1,12})$')), '(none)') AS metric, sum(size)::bigint AS value
        FROM portail.file WHERE etag IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 15"""), "bytes"),
    table("Largest files", sql("""
        SELECT f.name AS folder, i.path, i.size, i.modified_at AS modified, i.synced_at AS synced
        FROM portail.file i JOIN portail.folder f ON f.id = i.folder_id
        WHERE i.etag IS NOT NULL ORDER BY i.size DESC LIMIT 20"""), units={"size": "bytes"}),
    table("Most changed files", sql("""
        SELECT f.name AS folder, e.path, count(*) AS changes, sum(e.size)::bigint AS bytes, max(e.at) AS last
        FROM portail.event e JOIN portail.folder f ON f.id = e.folder_id
        WHERE $__timeFilter(e.at) AND e.kind IN ('uploaded', 'copied', 'deleted')
        GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20"""), units={"bytes": "bytes"}),
    table("Files that failed", sql("""
        SELECT f.name AS folder, i.path, i.error, i.attempts FROM portail.file i JOIN portail.folder f ON f.id = i.folder_id
        WHERE i.state = 'failed' ORDER BY i.attempts DESC, i.path LIMIT 50""")),
    table("Held deletions", sql("""
        SELECT f.name AS folder, h.path, h.reason, h.held_at AS held, h.decision, h.decided_by AS by
        FROM portail.held_delete h JOIN portail.folder f ON f.id = h.folder_id ORDER BY h.held_at DESC LIMIT 50""")),
    table("Notices", sql("""
        SELECT n.at, f.name AS folder, n.kind, n.reason FROM portail.notice n JOIN portail.folder f ON f.id = n.folder_id
        ORDER BY n.id DESC LIMIT 50"""), about="What webhooks are told of."),
    table("Tables", sql("""
        SELECT c.relname AS "table", sum(pg_total_relation_size(t.relid))::bigint AS bytes, sum(greatest(p.reltuples, 0))::bigint AS rows
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf UNION SELECT c.oid) t
        JOIN pg_class p ON p.oid = t.relid
        WHERE n.nspname = 'portail' AND c.relkind IN ('r', 'p') AND NOT c.relispartition GROUP BY 1 ORDER BY 2 DESC"""), units={"bytes": "bytes"}),
    lines("Links opened", sql("""
        SELECT date_trunc('hour', at) AS time, outcome AS metric, count(*) AS value
        FROM portail.link_use WHERE $__timeFilter(at) GROUP BY 1, 2 ORDER BY 1""", form="time_series"), stacked=True),
    table("Links by use", sql("""
        SELECT f.name AS folder, l.path, l.uses, l.max_uses AS "at most", l.created_by AS by, l.expires_at AS expires, l.last_used_at AS used
        FROM portail.link l JOIN portail.folder f ON f.id = l.folder_id ORDER BY l.uses DESC, l.id DESC LIMIT 20""")),
], since="now-7d")

NODE = 'job="node", instance=~"$node"'
DISKS = 'device!~"loop.*|ram.*|dm-.*"'
REAL = 'fstype!~"tmpfs|ramfs|squashfs|devtmpfs|fuse.*"'


def node(expr, legend):
    return prom(expr.replace("{N}", "{" + NODE + "}").replace("{N,", "{" + NODE + ", "), legend)


HOST = dashboard("host", "Host", "The machine: processor, memory, disks and network, by node_exporter.", [
    lines("Processor", node('sum by (instance, mode) (rate(node_cpu_seconds_total{N, mode!="idle"}[$__rate_interval]))', "{{mode}} ({{instance}})"), "short", stacked=True, about="Cores."),
    lines("Load", [node("node_load1{N}", "1 min ({{instance}})"), node("node_load15{N}", "15 min ({{instance}})")]),
    lines("Memory", [
        node("node_memory_MemTotal_bytes{N} - node_memory_MemAvailable_bytes{N}", "used ({{instance}})"),
        node("node_memory_MemAvailable_bytes{N}", "available ({{instance}})"),
    ], "bytes", stacked=True),
    lines("Swap", node("node_memory_SwapTotal_bytes{N} - node_memory_SwapFree_bytes{N}", "{{instance}}"), "bytes"),
    lines("Disk space left", node("node_filesystem_avail_bytes{N, " + REAL + "} / node_filesystem_size_bytes", "{{mountpoint}} ({{instance}})"), "percentunit"),
    lines("Inodes left", node("node_filesystem_files_free{N, " + REAL + "} / (node_filesystem_files > 0)", "{{mountpoint}} ({{instance}})"), "percentunit"),
    lines("Disk throughput", [
        node("rate(node_disk_read_bytes_total{N, " + DISKS + "}[$__rate_interval])", "read {{device}} ({{instance}})"),
        node("rate(node_disk_written_bytes_total{N, " + DISKS + "}[$__rate_interval])", "write {{device}} ({{instance}})"),
    ], "Bps"),
    lines("Disk busy", node("rate(node_disk_io_time_seconds_total{N, " + DISKS + "}[$__rate_interval])", "{{device}} ({{instance}})"), "percentunit"),
    lines("Network", [
        node('rate(node_network_receive_bytes_total{N}[$__rate_interval])', "in {{device}} ({{instance}})"),
        node('rate(node_network_transmit_bytes_total{N}[$__rate_interval])', "out {{device}} ({{instance}})"),
    ], "Bps"),
    lines("Network errors", node('sum by (instance, device) (rate(node_network_receive_errs_total{N}[$__rate_interval]) + rate(node_network_transmit_errs_total{N}[$__rate_interval]))', "{{device}} ({{instance}})")),
    lines("TCP", [node("node_netstat_Tcp_CurrEstab{N}", "connections ({{instance}})"), node("rate(node_netstat_Tcp_RetransSegs{N}[$__rate_interval])", "retransmitted a second ({{instance}})")]),
    lines("Files open", node("node_filefd_allocated{N}", "{{instance}}")),
], [variable("node", "Machine", "node_uname_info") | {"query": {"qryType": 1, "query": "label_values(node_uname_info, instance)", "refId": "variable"}}])


def main():
    check = sys.argv[1:] == ["--check"]
    stale = []
    for name, content in (("overview", OVERVIEW), ("pipeline", PIPELINE), ("catalog", CATALOG), ("host", HOST)):
        path = HERE / "dashboards" / f"{name}.json"
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            stale.append(str(path))
        elif not check:
            path.write_text(text)
    if stale:
        sys.exit(f"not what dashboards.py writes, run it: {' '.join(stale)}")


main()
