"""All that names the whale on a photo, in one folder that needs no pipeline around it."""
