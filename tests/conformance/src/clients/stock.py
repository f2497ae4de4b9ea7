"""Fills the origin's shelf: a file, a git repository, a wheel, an npm package and a crate, all of one word: stock.py ROOT HOST."""
import base64, hashlib, io, json, os, subprocess, sys, tarfile, zipfile

root, host = sys.argv[1:]
os.makedirs(f"{root}/simple/greeting")
os.makedirs(f"{root}/npm")
with open(f"{root}/hello.txt", "w") as file:
    file.write("hello\n")

git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"]
work = f"{root}/../work.git"
subprocess.run([*git, "init", "-q", work], check=True)
with open(f"{work}/hello.txt", "w") as file:
    file.write("hello\n")
subprocess.run([*git, "-C", work, "add", "."], check=True)
subprocess.run([*git, "-C", work, "commit", "-q", "-m", "hello"], check=True)
subprocess.run([*git, "clone", "-q", "--bare", work, f"{root}/repository.git"], check=True)
subprocess.run([*git, "-C", f"{root}/repository.git", "update-server-info"], check=True)

name = "greeting-1.0-py3-none-any.whl"
record = []
with zipfile.ZipFile(f"{root}/simple/greeting/{name}", "w") as wheel:
    for path, text in {
        "greeting.py": "hello\n",
        "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        "greeting-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: stock\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }.items():
        wheel.writestr(path, text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(text)}\n")
    wheel.writestr("greeting-1.0.dist-info/RECORD", "".join(record) + "greeting-1.0.dist-info/RECORD,,\n")
with open(f"{root}/simple/greeting/index.html", "w") as file:
    file.write(f'<a href="{name}">{name}</a>\n')

package = {"name": "greeting", "version": "1.0.0"}
with tarfile.open(f"{root}/npm/greeting-1.0.0.tgz", "w:gz") as archive:
    for path, text in {"package/package.json": json.dumps(package), "package/hello.txt": "hello\n"}.items():
        member = tarfile.TarInfo(path)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
with open(f"{root}/npm/greeting-1.0.0.tgz", "rb") as file:
    digest = hashlib.sha1(file.read()).hexdigest()
dist = {"tarball": f"https://{host}/npm/greeting-1.0.0.tgz", "shasum": digest}
with open(f"{root}/npm/greeting", "w") as file:
    json.dump({"name": "greeting", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**package, "dist": dist}}}, file)

crate = f"{root}/crates/greeting-1.0.0.crate"
os.makedirs(f"{root}/crates")
os.makedirs(f"{root}/index/gr/ee")
with tarfile.open(crate, "w:gz") as archive:
    for path, text in {
        "Cargo.toml": '[package]\nname = "greeting"\nversion = "1.0.0"\nedition = "2021"\n',
        "src/lib.rs": "",
        "hello.txt": "hello\n",
    }.items():
        member = tarfile.TarInfo(f"greeting-1.0.0/{path}")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
with open(crate, "rb") as file:
    digest = hashlib.sha256(file.read()).hexdigest()
with open(f"{root}/index/config.json", "w") as file:
    json.dump({"dl": f"https://{host}/crates/{{crate}}-{{version}}.crate"}, file)
with open(f"{root}/index/gr/ee/greeting", "w") as file:
    json.dump({"name": "greeting", "vers": "1.0.0", "deps": [], "cksum": digest, "features": {}, "yanked": False}, file)
    file.write("\n")
