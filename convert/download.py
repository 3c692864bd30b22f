"""Command: the RSNA 2018 data from Kaggle or from RSNA, resumed where broken off, and checked."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.cli import GO_ON, parser, run
from common.paths import shown, typed
from convert.sources.places import RAW, RELEASE_FOLDER, RSNA_FOLDER, RSNA_ZIP

TERMS = {
    "rsna": "Terms: the competition's rules, which you accepted on Kaggle; research and education with attribution.",
    "rsna-release": "Terms: research and commercial use with attribution; RSNA's page of the challenge has them.",
}
TERMS["rsna-mapping"] = TERMS["rsna-release"]

WHAT = {
    "rsna": "the challenge's files from Kaggle (4 GB), with Kaggle's client, and RSNA's image-to-patient mapping",
    "rsna-release": "RSNA's own release (4 GB), which has the truth of the challenge's test set; needs no account",
    "rsna-mapping": "only RSNA's image-to-patient mapping, which keeps patients apart in the splits",
}


STOPPED = GO_ON


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/download.py",
        "Download the RSNA 2018 pneumonia data. Broken off, the same command goes on where it stopped; what has come "
        "is checked before it takes its place, and what is there and whole is not fetched again.",
        "  python convert/download.py rsna\n"
        "  python convert/download.py rsna-release\n"
        "  python convert/download.py rsna-mapping\n\n"
        "`rsna` needs Kaggle's client (pip install kaggle), credentials in one of its usual places (`kaggle auth\n"
        "login`, KAGGLE_API_TOKEN, ~/.kaggle/access_token, ~/.kaggle/kaggle.json, KAGGLE_USERNAME with KAGGLE_KEY)\n"
        "and the competition's rules accepted on its page:\n"
        "https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge/rules\n\n"
        "Both downloads were tried with stand-ins only, not with Kaggle and RSNA themselves.",
    )
    add = result.add_argument
    add("what", choices=list(WHAT), help="; ".join(f"{name}: {text}" for name, text in WHAT.items()))
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help=f"where the files go (default: where the converters look: {shown(RAW)}, of rsna-release "
        f"{shown(RELEASE_FOLDER)})",
    )
    add(
        "--url",
        metavar="BASE",
        help="another folder with RSNA's files, as a mirror has (default: RSNA's bucket on S3)",
    )
    add(
        "--no-verify",
        action="store_true",
        help="do not read the pictures' zip through to compare checksums; its directory is looked into all the same",
    )
    add("--no-mapping", action="store_true", help="rsna: leave out the mapping, which is RSNA's and not on Kaggle")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Download; see `build_parser` for the arguments.

    Returns:
        0, the exit status.
    """
    args = build_parser().parse_args(argv)
    from convert.downloads import rsna as rsna_download

    base = args.url or rsna_download.BUCKET
    verify = not args.no_verify
    folder = (args.output or (RELEASE_FOLDER if args.what == "rsna-release" else RAW)).expanduser().absolute()
    if args.what == "rsna":
        source = rsna_download.download_kaggle(folder, verify=verify)
        if not args.no_mapping:
            rsna_download.add_mapping(folder, base)
        usual = source == RSNA_ZIP and not RSNA_FOLDER.exists()
        command = "python convert/rsna_to_yolo.py" + ("" if usual else f" --source {typed(source)}")
    elif args.what == "rsna-mapping":
        mapping = rsna_download.download_mapping(folder, base)
        command = "python convert/rsna_to_yolo.py" + ("" if folder == RAW else f" --nih-mapping {typed(mapping)}")
    else:
        rsna_download.download_release(folder, base, verify=verify)
        source_option = "" if folder == RELEASE_FOLDER else f" --source {typed(folder)}"
        command = f"python convert/rsna_release_to_yolo.py{source_option} --test-ids stage_2_sample_submission.csv"
    print(TERMS[args.what] + " Whom to cite: datasets/README.md.")
    print(f"Next: {command}")
    return 0


if __name__ == "__main__":
    run(main, STOPPED)
