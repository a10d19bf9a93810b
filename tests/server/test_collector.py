"""The garbage collector of a gateway that serves: what the start left behind is not walked again, which would hold up every request."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.support.gateway_process import configuration, new_key_file, secret_file
from tests.support.ports import free_port

SERVES = """
import asyncio, gc, os, pathlib, signal, sys
from gateway.config.compiling import load_settings
from gateway.server.run import serve
from gateway.telemetry import logs

def ready():
    print(gc.get_freeze_count(), len(gc.get_objects()))
    os.kill(os.getpid(), signal.SIGTERM)

logs.configure()
settings, _ = load_settings(pathlib.Path(sys.argv[1]), environ=os.environ)
sys.exit(asyncio.run(serve(settings, on_ready=ready)))
"""


async def test_what_the_start_left_behind_is_left_alone(tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    file.write_text(
        json.dumps(
            configuration(
                port=free_port(),
                admin_port=free_port(),
                issuer="http://127.0.0.1:9",
                client_id="gateway",
                client_secret_file=secret_file(tmp_path, "client_secret", "a secret of the tests"),
                key_files=[new_key_file(tmp_path)],
                store="memory",
                upstream="http://127.0.0.1:9",
            )
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVES, str(file), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    async with asyncio.timeout(30):
        told, _ = await process.communicate()
    assert process.returncode == 0
    left_alone, walked = map(int, told.split())
    assert left_alone > 10 * walked
