"""Objects of Kubernetes against its schemas, and what a reader of YAML makes of them."""

import json
import sys

import kubernetes_validate
import yaml

found = []
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        objects = list(yaml.safe_load_all(file))
    for each in objects:
        for version in ("1.34", "1.35", "1.36", "1.37"):
            kubernetes_validate.validate(each, version, strict=True)
    found.append(objects)
print(json.dumps(found))
