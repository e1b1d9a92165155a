"""Write the JavaScript that reports carry: Vega, Vega-Lite and Vega-Embed in the versions that Altair writes for.

It is kept in the package, for vl-convert is a JavaScript engine of 84 MB that takes seconds to bundle the same again.
"""

from importlib.resources import files
from pathlib import Path


def bundle() -> str:
    """Return the bundle under a comment that names its versions."""
    import altair
    import vl_convert

    vega_lite = altair.SCHEMA_VERSION.removeprefix("v")
    code = vl_convert.javascript_bundle(vl_version=vega_lite.rpartition(".")[0])  # type: ignore[call-arg]  # its stub lacks a default
    versions = f"Vega {vl_convert.get_vega_version()}, Vega-Lite {vega_lite}"
    head = (
        f"// {versions}, Vega-Embed {vl_convert.get_vega_embed_version()}, bundled by vl-convert-python (make bundle)."
    )
    return f"{head}\n// Licences: vega.LICENSES.txt\n{code.strip()}\n"


if __name__ == "__main__":
    target = Path(str(files("stream_coupons_lab.reports") / "report_page" / "vega.js"))
    target.write_text(bundle(), encoding="utf-8")
    print(f"{target}: {target.stat().st_size:,} bytes; look whether vega.LICENSES.txt still names what is in it")
