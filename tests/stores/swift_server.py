"""Run OpenStack Swift with its S3 API on loopback: a single process, one copy of everything.

    python swift_server.py FOLDER PORT

The account, container and object servers and the proxy listen in this process. FOLDER holds the
databases of accounts and containers; objects are in memory. The key is `test:tester`, the secret
`testing`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import eventlet

eventlet.monkey_patch()

from eventlet import wsgi  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

APPS = {"account": "account", "container": "container", "object": "mem_object"}
MIDDLEWARE = (
    "catch_errors", "gatekeeper", "cache", "listing_formats", "s3api", "tempauth", "copy", "slo",
)  # fmt: skip
SETTINGS = {
    "s3api": "location = us-east-1",
    "tempauth": "user_test_tester = testing .admin",
}


def configuration(folder: Path, port: int, pipeline: list[str], app: str) -> Path:
    """Write the configuration of one server, and return its file."""
    text = f"[DEFAULT]\nswift_dir = {folder}\ndevices = {folder}\nmount_check = false\n"
    text += f"bind_ip = 127.0.0.1\nbind_port = {port}\nlog_level = ERROR\n"
    text += f"[pipeline:main]\npipeline = {' '.join([*pipeline, app])}\n"
    egg = app.removesuffix("-server")
    text += f"[app:{app}]\nuse = egg:swift#{egg}\nallow_account_management = true\n"
    text += "account_autocreate = true\n"
    for name in pipeline:
        egg = "memcache" if name == "cache" else name
        text += f"[filter:{name}]\nuse = egg:swift#{egg}\n{SETTINGS.get(name, '')}\n"
    file = folder / f"{app}.conf"
    file.write_text(text)
    return file


def serve(listener: Any, file: Path) -> None:
    """Answer requests to a socket for ever."""
    app = loadapp(str(file), global_conf={"log_name": file.stem})
    wsgi.server(listener, app, utils.NullLogger(), custom_pool=eventlet.GreenPool(256))


def main(folder: Path, port: int) -> None:
    """Serve until the process is ended."""
    (folder / "sda").mkdir(parents=True)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n"
        "[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    utils.set_swift_dir(str(folder))
    for kind, app in APPS.items():
        listener = eventlet.listen(("127.0.0.1", 0))
        builder = RingBuilder(part_power=0, replicas=1, min_part_hours=0)
        where = {"ip": "127.0.0.1", "port": listener.getsockname()[1]}
        builder.add_dev({"region": 1, "zone": 1, "weight": 1, "device": "sda", **where})
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{kind}.ring.gz"))
        file = configuration(folder, where["port"], [], app)
        eventlet.spawn(serve, listener, file)
    file = configuration(folder, port, list(MIDDLEWARE), "proxy-server")
    serve(eventlet.listen(("127.0.0.1", port)), file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
