"""The gate of patchctl in a transaction of dnf 4, loaded for one run of its own and no other.

dnf is told to say no, and does so unless this is here and nothing would go. When everything is fetched and
checked, and before the first file changes, the program named in the environment is given the list of
changes; unless it exits with 0, dnf ends there.
"""

import json
import os
import subprocess

import dnf
import dnf.transaction as kinds

# not for the scripts of packages
GATE = json.loads(os.environ.pop("PATCH_GATE", "null"))


class PatchGate(dnf.Plugin):
    name = "patch_gate"

    def resolved(self):
        if not GATE:
            return
        print("patch_gate: loaded", flush=True)
        if not self.leaving():
            self.base.conf.assumeno = False
            self.base.conf.assumeyes = True

    def pre_transaction(self):
        if not GATE:
            return
        passed = False
        try:
            changes = json.dumps(self.changes()).encode()
            passed = subprocess.run(GATE, input=changes).returncode == 0
        except Exception as error:
            print("Error: the gate could not be asked: %s" % error, flush=True)
        if not passed:
            # which nobody catches on the way, unlike other exceptions
            raise SystemExit(1)

    def coming(self):
        items = self.base.transaction or ()
        return [item.pkg for item in items if item.action in kinds.FORWARD_ACTIONS]

    def leaving(self):
        """What goes and does not come in another version; the oldest of several is not meant."""
        names = {package.name for package in self.coming()}
        gone = (kinds.PKG_REMOVE, kinds.PKG_OBSOLETED)
        items = self.base.transaction or ()
        return [item.pkg for item in items if item.action in gone and item.pkg.name not in names]

    def replaced(self, package, installed):
        """What goes because a package for every architecture comes, or was there before."""
        of_name = installed.filter(name=package.name)
        return next((one for one in of_name if "noarch" in (package.arch, one.arch)), None)

    def changes(self):
        query = self.base.sack.query()
        installed, available = query.installed(), query.available()
        changes = {}
        for package in self.coming():
            same = dict(name=package.name, arch=package.arch)
            former = max(installed.filter(**same), default=None) or self.replaced(package, installed)
            if former:
                same = dict(name=former.name, arch=former.arch, evr=former.evr)
            changes[package.name, package.arch] = dict(
                package=package.name,
                architecture=package.arch,
                former_architecture=former.arch if former and former.arch != package.arch else None,
                to=package.evr,
                file=package.localPkg(),
                archived=bool(former and available.filter(**same)),
                **{"from": former and former.evr}
            )
        for package in self.leaving():
            changes[package.name, package.arch] = dict(
                package=package.name,
                architecture=package.arch,
                to=None,
                archived=False,
                **{"from": package.evr}
            )
        return sorted(changes.values(), key=lambda change: (change["package"], change["architecture"]))
